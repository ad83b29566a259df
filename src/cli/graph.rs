//! A graph in the terminal, drawn with Braille dots: two columns and four rows of dots a cell.

/// Points of one line: position on the x axis (0 to 1) and value.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines that are drawn at most; more cannot be told apart.
const LINES_MAX: usize = 6;

const COLOURS: [u8; LINES_MAX] = [36, 33, 32, 35, 34, 31];

/// Draws lines into `width` × `height` characters, with the axis on the left and a legend below.
pub(super) fn render(
    lines: &[Line],
    width: usize,
    height: usize,
    from: &str,
    to: &str,
    colour: bool,
) -> String {
    let Some((low, high)) = bounds(lines) else {
        return "no finite values to draw".to_owned();
    };
    let rows = height.max(2) - 1;
    let labels: Vec<String> = (0..height)
        .map(|row| number(high - (high - low) * row as f64 / rows as f64))
        .collect();
    let margin = labels.iter().map(String::len).max().unwrap_or(0);
    let columns = width.saturating_sub(margin + 2).max(10);
    let mut cells = vec![(0u8, 0usize); columns * height];
    for (index, line) in lines.iter().take(LINES_MAX).enumerate() {
        for (x, value) in line.points.iter().filter(|(_, value)| value.is_finite()) {
            let dot_x = scale(*x, columns * 2);
            let dot_y = scale((high - value) / (high - low), height * 4);
            if let Some(cell) = cells.get_mut((dot_y / 4) * columns + dot_x / 2) {
                *cell = (cell.0 | dot(dot_x % 2, dot_y % 4), index);
            }
        }
    }
    let mut out = String::new();
    for (row, (label, cells)) in labels.iter().zip(cells.chunks(columns)).enumerate() {
        let shown = if row % 4 == 0 || row + 1 == height {
            label.as_str()
        } else {
            ""
        };
        out.push_str(&format!("{shown:>margin$} │"));
        out.extend(
            cells
                .iter()
                .map(|(dots, line)| symbol(*dots, *line, colour)),
        );
        out.push('\n');
    }
    let gap = columns.saturating_sub(from.len() + to.len());
    out.push_str(&format!(
        "{:>margin$} └{}\n{:>margin$}  {from}{:gap$}{to}\n",
        "",
        "─".repeat(columns),
        "",
        ""
    ));
    out.push_str(&legend(lines, colour));
    out.trim_end().to_owned()
}

/// The least and the largest finite value; apart from each other, so that they span an axis.
fn bounds(lines: &[Line]) -> Option<(f64, f64)> {
    let values = || {
        let all = lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|(_, value)| *value);
        all.filter(|value| value.is_finite())
    };
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    match low.partial_cmp(&high)? {
        std::cmp::Ordering::Less => Some((low, high)),
        std::cmp::Ordering::Equal => Some((low - 1.0, high + 1.0)),
        std::cmp::Ordering::Greater => None,
    }
}

/// One cell of the graph.
fn symbol(dots: u8, line: usize, colour: bool) -> String {
    let symbol = char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ');
    match (dots, colour) {
        (0, _) => " ".to_owned(),
        (_, true) => format!("\x1b[{}m{symbol}\x1b[0m", COLOURS.get(line).unwrap_or(&0)),
        _ => symbol.to_string(),
    }
}

/// What the colours mean.
fn legend(lines: &[Line], colour: bool) -> String {
    let mut out = String::new();
    for (line, code) in lines.iter().zip(COLOURS) {
        let mark = if colour {
            format!("\x1b[{code}m━━\x1b[0m")
        } else {
            "━━".to_owned()
        };
        out.push_str(&format!("{mark} {}\n", line.name));
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        out.push_str(&format!(
            "({more} more series are not drawn: narrow the query)\n"
        ));
    }
    out
}

/// The dot of a place from 0 to 1 among `count`.
fn scale(place: f64, count: usize) -> usize {
    let last = count.saturating_sub(1);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the dots that there are"
    )]
    let dot = (place.clamp(0.0, 1.0) * last as f64).round() as usize;
    dot.min(last)
}

/// The bit of a dot in a Braille cell (Unicode block 2800).
fn dot(x: usize, y: usize) -> u8 {
    match (x, y) {
        (0, 0) => 0x01,
        (0, 1) => 0x02,
        (0, 2) => 0x04,
        (1, 0) => 0x08,
        (1, 1) => 0x10,
        (1, 2) => 0x20,
        (0, _) => 0x40,
        _ => 0x80,
    }
}

/// A number with four figures and a suffix.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    for (limit, suffix) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if size >= limit {
            let unit = if suffix == "k" { 1e3 } else { limit };
            return format!("{:.2}{suffix}", value / unit);
        }
    }
    if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 0.01 {
        format!("{value:.3}")
    } else {
        format!("{value:.2e}")
    }
}

/// Bytes as people count them.
pub(super) fn bytes(value: f64) -> String {
    let (mut value, mut name) = (value, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, name) = (value / 1024.0, next);
    }
    match name {
        "B" => format!("{value:.0} B"),
        _ => format!("{value:.1} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_line_goes_from_the_lower_left_to_the_upper_right() {
        let line = Line {
            name: "up".into(),
            points: (0..=20)
                .map(|i| (f64::from(i) / 20.0, f64::from(i)))
                .collect(),
        };
        let drawn = render(&[line], 40, 5, "a", "b", false);
        let rows: Vec<&str> = drawn.lines().collect();
        assert!(
            rows[0].trim_start().starts_with("20")
                && rows[0].ends_with(|c: char| ('\u{2801}'..='\u{28ff}').contains(&c))
        );
        assert!(
            rows[4].contains("│\u{2840}") || rows[4].contains("│\u{28c0}"),
            "{}",
            rows[4]
        );
        assert!(drawn.ends_with("━━ up"));
    }

    #[test]
    fn nothing_and_nan_are_no_trouble() {
        let line = |value| Line {
            name: "x".into(),
            points: vec![(0.5, value)],
        };
        assert_eq!(
            render(&[], 40, 5, "", "", false),
            "no finite values to draw"
        );
        assert_eq!(
            render(&[line(f64::NAN)], 40, 5, "", "", false),
            "no finite values to draw"
        );
        assert!(render(&[line(3.0)], 5, 1, "", "", false).contains("x"));
    }
}
