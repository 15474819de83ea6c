//! `docs/program.md` shows every command's help as the program prints it. `HSM_BLESS=1` writes it anew.

use std::fs;
use std::path::Path;

use crate::home::Home;

const BEGIN: &str = "<!-- help: begin -->\n";
const END: &str = "<!-- help: end -->\n";

#[test]
fn the_page_shows_the_help_of_every_command() {
    let home = Home::new();
    let mut help = String::new();
    describe(&home, &mut Vec::new(), &mut help);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/program.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var_os("HSM_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{help}{END}{after}")).unwrap();
        return;
    }
    assert!(
        shown == help,
        "docs/program.md is not what the program says; HSM_BLESS=1 writes it anew"
    );
}

/// The help of a command, and of those below it.
fn describe(home: &Home, command: &mut Vec<String>, page: &mut String) {
    let args: Vec<&str> = command.iter().map(String::as_str).collect();
    let text = home.done(&[&args[..], &["-h"]].concat());
    let name = [&["hsm"], &args[..]].concat().join(" ");
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    page.push_str(&format!(
        "\n### `{name}`\n\n```text\n{}\n```\n",
        text.join("\n").trim_end()
    ));
    let below: Vec<_> = text
        .iter()
        .skip_while(|line| **line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect();
    for name in below {
        command.push(name);
        describe(home, command, page);
        command.pop();
    }
}
