//! A handful of decoded things, the latest used first: what neighbours of a read share.

use std::sync::Arc;

/// At most `max` things by their keys.
#[derive(Debug)]
pub(super) struct Few<K, V> {
    max: usize,
    items: Vec<(K, Arc<V>)>,
}

impl<K: PartialEq + Copy, V> Few<K, V> {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            items: Vec::new(),
        }
    }

    /// The thing of a key, made by `make` if it is not here; the one used longest ago makes room.
    pub(super) fn get_or<E>(
        &mut self,
        key: K,
        make: impl FnOnce() -> Result<Arc<V>, E>,
    ) -> Result<Arc<V>, E> {
        if let Some((at, value)) = self.items.first()
            && *at == key
        {
            return Ok(Arc::clone(value));
        }
        let found = self.items.iter().position(|(at, _)| *at == key);
        let item = match found {
            Some(position) => self.items.remove(position),
            None => (key, make()?),
        };
        self.items.truncate(self.max.saturating_sub(1));
        let value = Arc::clone(&item.1);
        self.items.insert(0, item);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay() {
        let mut few: Few<u32, u32> = Few::new(2);
        let mut made = Vec::new();
        for key in [1, 2, 1, 3, 1, 2] {
            let value: Result<_, ()> = few.get_or(key, || {
                made.push(key);
                Ok(Arc::new(key * 10))
            });
            assert_eq!(*value.unwrap(), key * 10);
        }
        assert_eq!(made, [1, 2, 3, 2]);
    }
}
