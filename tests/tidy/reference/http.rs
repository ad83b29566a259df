//! `http.md`: every path, from the tables that the router is made of.

use std::fmt::Write;

use cairn::http::listed_routes;

use super::{cell, check, opening};

#[test]
fn reference_of_the_paths() {
    let mut page = opening("HTTP paths");
    page.push_str(
        "Answers below `/api/v1` have Prometheus' form. A path of the API that takes POST takes its \
         parameters as a form too. At `/` is the page, with its files below `/ui/`; every other \
         path is 404 with a hint where there is one to give.\n",
    );
    let mut prefixes: &[&str] = &[];
    for route in listed_routes() {
        if route.prefixes != prefixes {
            prefixes = route.prefixes;
            let names: Vec<String> = prefixes
                .iter()
                .map(|prefix| match *prefix {
                    "" => "`/`".to_owned(),
                    prefix => format!("`{prefix}/`"),
                })
                .collect();
            let _ = write!(
                page,
                "\n## Below {}\n\n| path | methods | what it is |\n| --- | --- | --- |\n",
                names.join(" and ")
            );
        }
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            route.path,
            route.methods.replace(' ', ", "),
            cell(route.about)
        );
    }
    check("http.md", &page);
}
