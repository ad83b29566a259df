//! Definitions of series within one request: texts that were written before are named by number.

use std::collections::HashMap;

use super::wire_error::FrameError;
use super::{LABELS_BYTES_MAX, LABELS_MAX};
use crate::codec::varint;
use crate::model::{LabelSet, TenantId};

/// Writes definitions.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    bytes: Vec<u8>,
    texts: HashMap<Box<str>, u64>,
}

impl Definitions {
    pub(super) fn put(&mut self, id: u32, tenant: &TenantId, labels: &LabelSet) {
        varint::put_u64(&mut self.bytes, u64::from(id));
        self.text(tenant.as_str());
        varint::put_len(&mut self.bytes, labels.len());
        for (name, value) in labels.iter() {
            self.text(name);
            self.text(value);
        }
    }

    /// 0 and the text where it is new, else its number from 1 on.
    fn text(&mut self, text: &str) {
        if let Some(number) = self.texts.get(text) {
            varint::put_u64(&mut self.bytes, *number);
            return;
        }
        varint::put_u64(&mut self.bytes, 0);
        varint::put_bytes(&mut self.bytes, text.as_bytes());
        let number = self.texts.len() as u64 + 1;
        self.texts.insert(Box::from(text), number);
    }

    /// Takes what was written, and starts anew.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.texts.clear();
        std::mem::take(&mut self.bytes)
    }
}

/// Gives each definition to `each`.
pub(super) fn read(
    mut bytes: &[u8],
    mut each: impl FnMut(u32, &TenantId, &LabelSet) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let mut texts: Vec<&str> = Vec::new();
    let mut tenant: Option<(usize, TenantId)> = None;
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    while !bytes.is_empty() {
        let id = varint::take_u32(&mut bytes, "an id")?;
        let (number, name) = take_text(&mut bytes, &mut texts)?;
        if tenant.as_ref().is_none_or(|(known, _)| *known != number) {
            let new = TenantId::new(name).map_err(|_| FrameError::Invalid("a tenant"))?;
            tenant = Some((number, new));
        }
        let count = varint::take_len(&mut bytes, "labels of a series", LABELS_MAX)?;
        pairs.clear();
        let mut text_bytes = 0usize;
        for _ in 0..count {
            let (_, name) = take_text(&mut bytes, &mut texts)?;
            let (_, value) = take_text(&mut bytes, &mut texts)?;
            text_bytes = text_bytes.saturating_add(name.len() + value.len());
            if text_bytes > LABELS_BYTES_MAX {
                return Err(FrameError::TooMuch {
                    what: "the text of a series' labels",
                    limit: LABELS_BYTES_MAX,
                });
            }
            pairs.push((name, value));
        }
        let labels = LabelSet::from_pairs(&pairs).map_err(|_| FrameError::Invalid("labels"))?;
        if let Some((_, tenant)) = &tenant {
            each(id, tenant, &labels)?;
        }
    }
    Ok(())
}

fn take_text<'a>(
    bytes: &mut &'a [u8],
    texts: &mut Vec<&'a str>,
) -> Result<(usize, &'a str), FrameError> {
    let number = varint::take_u64(bytes)?;
    if number == 0 {
        let text = varint::take_bytes(bytes, "a text")?;
        let text = std::str::from_utf8(text).map_err(|_| FrameError::Invalid("a text"))?;
        texts.push(text);
        return Ok((texts.len() - 1, text));
    }
    let at = usize::try_from(number - 1).map_err(|_| FrameError::Invalid("a text's number"))?;
    let text = texts
        .get(at)
        .ok_or(FrameError::Invalid("a text's number"))?;
    Ok((at, text))
}
