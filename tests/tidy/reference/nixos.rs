//! `nixos/options.nix`: every key as a typed and documented option of the NixOS module.

use std::fmt::Write;

use super::super::sources::root;
use super::check_at;

/// The word of `nixos/forms.nix` for a form of the reference.
fn form(form: &str) -> String {
    let word = match form {
        "a text" => "text",
        "a text, which is never shown" => "secret",
        "a list of texts" => "texts",
        "a path" => "path",
        "true or false" => "flag",
        "a whole number" => "count",
        "a duration such as \"5m\"" => "duration",
        "a size such as \"32MiB\"" => "size",
        "a size such as \"1GiB\", or a share such as \"25%\"" => "share",
        choice => {
            let words: Vec<&str> = choice.split('"').skip(1).step_by(2).collect();
            let said = format!("\"{}\"", words.join("\", \""));
            assert!(
                choice.replace(" or ", ", ") == said,
                "nixos/forms.nix has no word for {choice:?}: give it one, and name it here"
            );
            return format!("(choice [ \"{}\" ])", words.join("\" \""));
        }
    };
    word.to_owned()
}

fn page() -> String {
    let mut page = String::from(
        "# Written by `scripts/check --write` from the code; do not edit it by hand.\n#\n\
         # Every key of the configuration, as an option of services.cairn.settings.\n\
         { forms }:\nwith forms;\n{\n",
    );
    for key in cairn::config::reference() {
        let default = key.default.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(
            page,
            "  {} = key {} \"{default}\" ''",
            key.key,
            form(key.form)
        );
        for line in key.text.lines() {
            let line = line.trim().replace("''", "'''").replace("${", "''${");
            let _ = writeln!(page, "    {line}");
        }
        page.push_str("  '';\n");
    }
    page.push_str("}\n");
    page
}

#[test]
fn reference_of_the_nixos_module() {
    check_at(&root().join("nixos/options.nix"), &page());
}
