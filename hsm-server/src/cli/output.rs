//! [`Out`]: results as tables for people or JSON for programs, and bytes to files and pipes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, ContentArrangement, Table};
use hsm_client::SecretBytes;
use serde::Serialize;
use zeroize::Zeroizing;

use super::failure::{Exit, Failure};
use super::{Result, progress::Progress};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: one JSON value on standard output, errors as JSON on standard error
    Json,
}

/// Something that prints as a row of a table, as a list of its fields, and as JSON.
pub(crate) trait Show: Serialize {
    /// The fields that a table shows.
    const COLUMNS: &'static [&'static str];

    /// Every field with its name, in order. The names are those of the JSON members, as words.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Out {
    format: Format,
}

impl Out {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one thing.
    pub(crate) fn one<T: Show>(&self, thing: &T) -> Result<()> {
        if self.is_json() {
            return self.json(thing);
        }
        let mut table = plain_table();
        for (name, value) in thing.fields() {
            if !value.is_empty() {
                table.add_row([heading(name), Cell::new(value)]);
            }
        }
        print_lines(&table)
    }

    /// Prints a list.
    pub(crate) fn list<T: Show>(&self, things: &[T], what: &str) -> Result<()> {
        if self.is_json() {
            return self.json(&things);
        }
        if things.is_empty() {
            self.note(&format!("no {what}"));
            return Ok(());
        }
        let mut table = plain_table();
        table.set_header(T::COLUMNS.iter().map(|name| heading(name)));
        for thing in things {
            let fields = thing.fields();
            let cell = |name: &&str| {
                fields
                    .iter()
                    .find(|(field, _)| field == name)
                    .map_or_else(String::new, |(_, value)| value.clone())
            };
            table.add_row(T::COLUMNS.iter().map(cell));
        }
        print_lines(&table)
    }

    /// Prints JSON, whatever the format.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::usage(format!("the result cannot be written as JSON: {error}"))
        })?;
        write_stdout(format!("{text}\n").as_bytes())
    }

    /// Prints one line of a stream, as it is.
    pub(crate) fn line(&self, line: &str) -> Result<()> {
        write_stdout(format!("{line}\n").as_bytes())
    }

    /// Tells people what was done; programs see the exit code.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_json() {
            // Nobody is left to tell if the terminal is gone.
            drop(writeln!(io::stderr(), "{text}"));
        }
    }

    /// Tells why the command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.exit() == Exit::Done {
            return;
        }
        let text = if self.is_json() {
            let error = serde_json::json!({ "error": failure });
            format!("{error}")
        } else {
            failure.to_string()
        };
        drop(writeln!(io::stderr(), "{text}"));
    }

    /// A bar for work of `total` steps, on a terminal.
    pub(crate) fn progress(&self, what: &str, total: Option<u64>) -> Progress {
        match self.format {
            Format::Table => Progress::bar(what, total),
            Format::Json => Progress::none(),
        }
    }
}

/// A file, or `-` for standard input or output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Standard,
    File(PathBuf),
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        match text {
            "-" => Self::Standard,
            path => Self::File(path.into()),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standard => f.write_str("-"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whether others may read a file that is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Secrecy {
    Public,
    Secret,
}

impl Place {
    /// Opens it to read.
    pub(crate) fn reader(&self) -> Result<Box<dyn Read>> {
        match self {
            Self::Standard => Ok(Box::new(io::stdin().lock())),
            Self::File(path) => {
                let file = File::open(path)
                    .map_err(|source| Failure::io(&path.display().to_string(), &source))?;
                Ok(Box::new(file))
            }
        }
    }

    /// Reads all of it: at most `max` bytes, which are wiped when they are dropped.
    pub(crate) fn read(&self, max: usize) -> Result<SecretBytes> {
        read_secret(&mut self.reader()?, max)
            .map_err(|source| Failure::io(&self.name(), &source))?
            .ok_or_else(|| {
                Failure::usage(format!(
                    "{} is longer than {max} bytes, which is the most that is taken",
                    self.name()
                ))
            })
    }

    /// Writes bytes. A file appears whole or not at all; one that is secret is the owner's only. A terminal is spared
    /// what is no text, unless it is forced.
    pub(crate) fn write(&self, bytes: &[u8], secrecy: Secrecy, force: bool) -> Result<()> {
        match self {
            Self::Standard => {
                let text = std::str::from_utf8(bytes).is_ok_and(|text| {
                    !text
                        .chars()
                        .any(|letter| letter.is_control() && letter != '\n')
                });
                if !(text && secrecy == Secrecy::Public) {
                    self.check_secret(force)?;
                }
                write_stdout(bytes)
            }
            Self::File(path) => write_file(path, bytes, secrecy)
                .map_err(|source| Failure::io(&path.display().to_string(), &source)),
        }
    }

    /// Refuses what would put a secret or binary data on a terminal.
    pub(crate) fn check_secret(&self, force: bool) -> Result<()> {
        if *self == Self::Standard && !force && io::stdout().is_terminal() {
            return Err(Failure::usage(
                "this is binary or secret, and standard output is a terminal",
            )
            .hint("name a file with --out FILE, pipe it, use --output json, or add --force"));
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self {
            Self::Standard => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

/// `None` if there is more than `max`.
fn read_secret(from: &mut impl Read, max: usize) -> io::Result<Option<SecretBytes>> {
    // Grown by hand, as a `Vec` that grows leaves copies.
    let mut bytes = Zeroizing::new(vec![0; 4096]);
    let mut len = 0;
    loop {
        if len == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; len * 2]);
            larger[..len].copy_from_slice(&bytes);
            bytes = larger;
        }
        match from.read(&mut bytes[len..]) {
            Ok(0) => return Ok(Some(SecretBytes::copy_from(&bytes[..len]))),
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if len > max {
            return Ok(None);
        }
    }
}

/// Writes beside the file, and puts it in its place when it is whole and on disk.
pub(crate) fn write_file(path: &Path, bytes: &[u8], secrecy: Secrecy) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let unique = getrandom::u64().map_err(|_| io::Error::other("no random numbers"))?;
    let draft = path.with_file_name(format!(".{}.{unique:016x}", name.to_string_lossy()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(match secrecy {
                Secrecy::Public => 0o644,
                Secrecy::Secret => 0o600,
            })
            .open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    if written.is_err() {
        // It may not be there; the first error counts.
        drop(fs::remove_file(&draft));
    }
    written
}

/// Standard output; a reader that has gone away ends the program quietly, as for every filter.
fn write_stdout(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        Err(error) => Err(Failure::io("standard output", &error)),
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if styled() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

fn heading(name: &str) -> Cell {
    let cell = Cell::new(name.to_uppercase());
    if styled() {
        cell.add_attribute(Attribute::Bold)
    } else {
        cell
    }
}

/// Whether people with a terminal that may show colours look at it (<https://no-color.org>).
fn styled() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn print_lines(table: &Table) -> Result<()> {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    write_stdout(text.as_bytes())
}
