//! The files of the page, embedded: name below `/ui/{version}/`, content type, bytes.

/// The page itself; `VERSION` in it stands for the version of the files.
pub(super) const INDEX: &str = include_str!("page/index.html");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// What may be asked for. `words.json` is written at the start and joins them.
#[rustfmt::skip]
pub(super) const FILES: &[(&str, &str, &[u8])] = &[
    ("cairn.svg", PICTURE, include_bytes!("page/cairn.svg")),
    ("base.css", STYLE, include_bytes!("page/base.css")),
    ("node.css", STYLE, include_bytes!("page/node.css")),
    ("query.css", STYLE, include_bytes!("page/query.css")),
    ("cluster.css", STYLE, include_bytes!("page/cluster.css")),
    ("main.js", SCRIPT, include_bytes!("page/main.js")),
    ("address.js", SCRIPT, include_bytes!("page/address.js")),
    ("api.js", SCRIPT, include_bytes!("page/api.js")),
    ("cluster.js", SCRIPT, include_bytes!("page/cluster.js")),
    ("completion.js", SCRIPT, include_bytes!("page/completion.js")),
    ("connect.js", SCRIPT, include_bytes!("page/connect.js")),
    ("context.js", SCRIPT, include_bytes!("page/context.js")),
    ("dom.js", SCRIPT, include_bytes!("page/dom.js")),
    ("figures.js", SCRIPT, include_bytes!("page/figures.js")),
    ("format.js", SCRIPT, include_bytes!("page/format.js")),
    ("graph.js", SCRIPT, include_bytes!("page/graph.js")),
    ("node.js", SCRIPT, include_bytes!("page/node.js")),
    ("query.js", SCRIPT, include_bytes!("page/query.js")),
    ("remarks.js", SCRIPT, include_bytes!("page/remarks.js")),
    ("series.js", SCRIPT, include_bytes!("page/series.js")),
    ("table.js", SCRIPT, include_bytes!("page/table.js")),
    ("vocabulary.js", SCRIPT, include_bytes!("page/vocabulary.js")),
    ("uplot/uPlot.esm.js", SCRIPT, include_bytes!("vendor/uplot/uPlot.esm.js")),
    ("uplot/uPlot.min.css", STYLE, include_bytes!("vendor/uplot/uPlot.min.css")),
    ("uplot/LICENSE", "text/plain; charset=utf-8", include_bytes!("vendor/uplot/LICENSE")),
];
