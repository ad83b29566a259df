//! `metrics.md`: every metric of a node. Names, types, helps and units come from the registry of a
//! real node; labels, and families that have no series before something happens, from reading the
//! sources. What both know must agree, and what neither shows as the other does fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::sync::Arc;

use cairn::config::Settings;
use cairn::runtime::{SystemChance, SystemClock};
use prometheus_client::encoding::text::encode;
use regex::Regex;

use super::super::report;
use super::super::sources::{below, root};
use super::{cell, check, opening};

/// What is known of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    help: String,
    unit: String,
    /// Labels, with the values that are there from the start.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The metrics of a node's registry, by name without suffix.
fn registered() -> BTreeMap<String, Metric> {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.main.data_dir = folder.path().to_owned();
    let clock = Arc::new(SystemClock::new());
    let registry = cairn::node::metrics_registry(settings, clock, Arc::new(SystemChance)).unwrap();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    read(&text)
}

/// Reads the text form of a registry.
fn read(text: &str) -> BTreeMap<String, Metric> {
    let label = Regex::new(r#"([a-zA-Z_]+)="((?:[^"\\]|\\.)*)""#).unwrap();
    let mut all: BTreeMap<String, Metric> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let what = words.next().unwrap();
            let Some(name) = words.next() else { continue };
            let rest = words.next().unwrap_or_default().to_owned();
            last = name.to_owned();
            let metric = all.entry(last.clone()).or_default();
            match what {
                "HELP" => metric.help = rest,
                "TYPE" => metric.kind = rest,
                "UNIT" => metric.unit = rest,
                other => panic!("what is {other}?"),
            }
            continue;
        }
        let labels = line.split_once('{').map_or("", |(_, rest)| rest);
        let metric = all.get_mut(&last).expect("samples follow their family");
        for found in label.captures_iter(labels) {
            if &found[1] != "le" {
                let values = metric.labels.entry(found[1].to_owned()).or_default();
                values.insert(found[2].to_owned());
            }
        }
    }
    all
}

/// The metrics that sources register in so many words.
fn written() -> BTreeMap<String, Metric> {
    let mut all = BTreeMap::new();
    for source in below("src") {
        if source.code.contains("Registry") {
            all.extend(in_source(&source.text));
        }
    }
    all
}

/// `register("name", "help", [Unit::X,] field)`, the fields' types and the structs of their labels.
fn in_source(text: &str) -> BTreeMap<String, Metric> {
    let call = Regex::new(concat!(
        r#""([a-z_]+)",\s*"((?:[^"\\]|\\.)*)",\s*(?:Unit::(\w+),\s*)?"#,
        r"&?(?:metrics|self)\.(\w+)"
    ))
    .unwrap();
    let field = Regex::new(r"(\w+): (Counter|Gauge|Histogram|Family<\w+, \w+|\w+)").unwrap();
    let alias = Regex::new(r"type (\w+) = (Family<\w+, \w+)").unwrap();
    let labels = Regex::new(r"struct (\w+) \{([^}]*)\}").unwrap();

    let aliases: BTreeMap<&str, &str> = alias
        .captures_iter(text)
        .map(|found| {
            (
                found.get(1).unwrap().as_str(),
                found.get(2).unwrap().as_str(),
            )
        })
        .collect();
    let types: BTreeMap<&str, &str> = field
        .captures_iter(text)
        .map(|found| {
            (
                found.get(1).unwrap().as_str(),
                found.get(2).unwrap().as_str(),
            )
        })
        .map(|(name, kind)| (name, aliases.get(kind).copied().unwrap_or(kind)))
        .filter(|(_, kind)| {
            ["Counter", "Gauge", "Histogram", "Family<"]
                .iter()
                .any(|known| kind.starts_with(known))
        })
        .collect();
    let label_names = |of: &str| -> BTreeMap<String, BTreeSet<String>> {
        let fields = labels.captures_iter(text).find(|found| &found[1] == of);
        let fields = fields.map(|found| found[2].to_owned()).unwrap_or_default();
        let names = fields.split(',').filter_map(|one| one.split_once(':'));
        names
            .map(|(name, _)| (name.trim().to_owned(), BTreeSet::new()))
            .collect()
    };
    call.captures_iter(text)
        .filter_map(|found| {
            let kind = *types.get(&found[4])?;
            let (labels, kind) = match kind.strip_prefix("Family<") {
                Some(family) => {
                    let (set, kind) = family.split_once(", ").unwrap();
                    (label_names(set), kind)
                }
                None => (BTreeMap::new(), kind),
            };
            let unit = found.get(3).map_or("", |unit| unit.as_str()).to_lowercase();
            let name = if unit.is_empty() {
                found[1].to_owned()
            } else {
                format!("{}_{unit}", &found[1])
            };
            Some((
                name,
                Metric {
                    kind: kind.to_lowercase(),
                    help: format!("{}.", &found[2]),
                    unit,
                    labels,
                },
            ))
        })
        .collect()
}

/// As a query names it.
fn shown_name(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        "histogram" => format!("{name}_bucket, _sum, _count"),
        _ => name.to_owned(),
    }
}

/// The unit, which some names carry without saying so to the registry.
fn unit<'a>(name: &str, metric: &'a Metric) -> &'a str {
    let carried = ["bytes", "seconds"]
        .into_iter()
        .find(|unit| name.ends_with(&format!("_{unit}")));
    carried.unwrap_or(&metric.unit)
}

#[test]
fn reference_of_the_metrics() {
    let (registered, written) = (registered(), written());
    let mut complaints = Vec::new();
    for (name, metric) in &registered {
        if metric.help.trim_end_matches('.').is_empty() {
            complaints.push(format!("{name} has no help"));
        }
        if !name.starts_with("cairn_") && !name.starts_with("process_") {
            complaints.push(format!("{name}: names of ours begin with cairn_"));
        }
        let Some(source) = written.get(name) else {
            continue;
        };
        let known: Vec<&String> = source.labels.keys().collect();
        let seen: Vec<&String> = metric.labels.keys().collect();
        if (&source.kind, &source.help, &source.unit) != (&metric.kind, &metric.help, &metric.unit)
            || (!seen.is_empty() && known != seen)
        {
            complaints.push(format!(
                "{name}: read as {source:?}, registered as {metric:?}"
            ));
        }
    }
    for (name, metric) in &written {
        if !registered.contains_key(name) && metric.labels.is_empty() {
            complaints.push(format!(
                "{name} stands in the sources, and no node registers it"
            ));
        }
    }
    report("metrics are what the sources say", complaints);

    let mut all = written;
    for (name, metric) in registered {
        let entry = all.entry(name).or_default();
        *entry = metric_with_labels(metric, entry);
    }
    check("metrics.md", &page(&all));
}

/// A metric with the labels that are only known from the source.
fn metric_with_labels(mut metric: Metric, source: &Metric) -> Metric {
    for name in source.labels.keys() {
        metric.labels.entry(name.clone()).or_default();
    }
    metric
}

fn page(all: &BTreeMap<String, Metric>) -> String {
    let mut page = opening("Metrics");
    page.push_str(
        "A node shows these at `/metrics` and stores them itself every few seconds, with the labels \
         `job` and `instance` (`ingest.self_scrape_interval` in the \
         [configuration](configuration.md)). A metric with labels is there from the first event on; \
         values of labels that are listed are there from the start.\n\n\
         | metric | type | unit | labels | what it is |\n| --- | --- | --- | --- | --- |\n",
    );
    for (name, metric) in all {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|(name, values)| {
                // What a program was built from is different every time.
                if values.is_empty() || metric.kind == "info" {
                    return format!("`{name}`");
                }
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                format!("`{name}`: {}", values.join(", "))
            })
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            shown_name(name, &metric.kind),
            metric.kind,
            unit(name, metric),
            labels.join("; "),
            cell(metric.help.trim_end_matches('.'))
        );
    }
    page
}

/// An alert on a metric that does not exist never fires.
#[test]
fn metrics_that_the_documentation_and_the_page_name_exist() {
    let reference = fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    let name = Regex::new("cairn_[a-z_]+").unwrap();
    let known: BTreeSet<&str> = name
        .find_iter(&reference)
        .map(|found| found.as_str())
        .collect();
    let mut files = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "src/http/ui/page"] {
        let entries = fs::read_dir(root().join(folder)).unwrap();
        files.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = fs::read_to_string(file).unwrap();
        for found in name.find_iter(&text).map(|found| found.as_str()) {
            let base = ["_bucket", "_sum", "_count"]
                .into_iter()
                .find_map(|end| found.strip_suffix(end))
                .map(|base| format!("{base}_bucket"));
            if !known.contains(found) && !base.is_some_and(|base| known.contains(base.as_str())) {
                complaints.push(format!("{}: there is no metric {found}", file.display()));
            }
        }
    }
    report("documentation names metrics that exist", complaints);
}

#[test]
fn metrics_are_found_in_a_source() {
    let source = r#"
        struct PathLabels { path: String, code: u16 }
        type Durations = Family<PathLabels, Histogram, fn() -> Histogram>;
        struct Metrics { took: Durations, pub(super) open: Gauge }
        fn register() {
            registry.register_with_unit("cairn_took", "How long", Unit::Seconds, metrics.took.clone());
            add("cairn_open", "How \"many\"", &self.open);
        }"#;
    let found = in_source(source);
    let took = &found["cairn_took_seconds"];
    assert_eq!(
        (took.kind.as_str(), took.unit.as_str()),
        ("histogram", "seconds")
    );
    assert_eq!(took.labels.keys().collect::<Vec<_>>(), ["code", "path"]);
    assert_eq!(found["cairn_open"].kind, "gauge");
    let text =
        "# HELP a Help.\n# TYPE a counter\na_total{kind=\"x\"} 1\na_total{kind=\"y,z\"} 2\n# EOF\n";
    let read = read(text);
    assert_eq!(read["a"].labels["kind"].len(), 2);
}
