//! The reference page of all keys, written from the code.

use std::fmt::Write;

use super::Settings;
use crate::runtime::KeyReference;

/// Every key there is, in the order of the page.
#[must_use]
pub fn reference() -> Vec<KeyReference> {
    Settings::reference()
}

/// `docs/reference/configuration.md`; a test holds the file to it.
#[must_use]
pub fn reference_page() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         Written by `scripts/check --write` from the code; do not edit it by hand.\n\n\
         Nothing has to be set. A value is looked for in this order, and the last one found wins: the\n\
         default, the file given by `--config`, the environment, a flag. A key `section.key` is\n\
         `CAIRN_SECTION__KEY` in the environment. A key that is not listed here is an error.\n",
    );
    let mut section = None;
    for key in reference() {
        let name = key
            .key
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
            .to_owned();
        if section.as_ref() != Some(&name) {
            let title = if name.is_empty() { "Top level" } else { &name };
            let _ = write!(page, "\n## {title}\n");
            section = Some(name);
        }
        let default = match key.default.as_str() {
            "" => "unset".to_owned(),
            value => format!("`{value}`"),
        };
        let text: Vec<&str> = key.text.lines().map(str::trim).collect();
        let _ = write!(
            page,
            "\n### `{}`\n{}\n\nForm: {}. Default: {default}.\n",
            key.key,
            text.join("\n"),
            key.form
        );
    }
    page
}
