//! The nearest known word to an unknown one.

/// Changes (insertions, deletions, replacements, neighbours swapped) that turn one word into the
/// other: the restricted Damerau-Levenshtein distance.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j + 1) + 1)
                .min(at(&row, j) + 1)
                .min(at(&last, j) + usize::from(a != b));
            let swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

/// The known word nearest to `word`, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let short = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    known
        .map(|name| {
            // A key without its section, or with a wrong one, is meant as well.
            let bare = distance(word.rsplit('.').next().unwrap_or(word), short(name)) + 1;
            (distance(word, name).min(bare), name)
        })
        .min()
        .filter(|(changes, name)| *changes <= 1 + name.len() / 4)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_key() {
        let known = [
            "http.listen",
            "query.timeout",
            "data_dir",
            "retention.total",
        ];
        let check = |word, want| assert_eq!(nearest(word, known.into_iter()), want, "{word}");
        check("http.lisen", Some("http.listen"));
        check("listen", Some("http.listen"));
        check("datadir", Some("data_dir"));
        check("query.tiemout", Some("query.timeout"));
        check("retention.totl", Some("retention.total"));
        check("something.else", None);
    }
}
