//! Passwords: from a prompt that does not show them, from a file, or from standard input; never from an argument.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;

use hsm_client::{SecretBytes, limits};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use super::Result;
use super::failure::Failure;
use super::output::Place;

/// Longest line that a prompt or a secret's file takes, in bytes. Tokens of foreign issuers are longer than passwords.
const SECRET_LEN_MAX: usize = 16 * limits::PASSWORD_LEN_MAX;

/// Reads a secret: what a file or standard input holds, without the end of its last line.
pub(crate) fn from_place(place: &Place) -> Result<SecretBytes> {
    if let Place::File(path) = place
        && let Ok(metadata) = std::fs::metadata(path)
        && metadata.is_file()
        && metadata.mode() & 0o077 != 0
    {
        // Told and no more: the file may be a mounted secret, whose mode is not the caller's.
        drop(writeln!(
            io::stderr(),
            "warning: others may read {}; `chmod 600` it",
            path.display()
        ));
    }
    let bytes = place.read(SECRET_LEN_MAX)?;
    let line = bytes.expose();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::usage(format!("{place} holds no secret")));
    }
    Ok(SecretBytes::copy_from(line))
}

/// A secret from its file, or from a prompt. `option` is the one that names the file.
pub(crate) fn from_place_or_prompt(
    place: Option<&Place>,
    option: &str,
    prompt: &str,
) -> Result<SecretBytes> {
    match place {
        Some(place) => from_place(place),
        None => Terminal::open(option)?.ask(prompt),
    }
}

/// A secret that is new: a prompt asks for it twice.
pub(crate) fn new_from_place_or_prompt(
    place: Option<&Place>,
    option: &str,
    prompt: &str,
) -> Result<SecretBytes> {
    use subtle::ConstantTimeEq;

    let Some(place) = place else {
        let mut terminal = Terminal::open(option)?;
        let secret = terminal.ask(prompt)?;
        let again = terminal.ask("Once more")?;
        return match bool::from(secret.ct_eq(&again)) {
            true => Ok(secret),
            false => Err(Failure::usage("the two are not the same")),
        };
    };
    from_place(place)
}

/// Asks for something that is no secret; `None` without a terminal.
pub(crate) fn ask_openly(prompt: &str) -> Option<String> {
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    write!(terminal, "{prompt}: ").ok()?;
    let mut line = String::new();
    let mut byte = [0];
    while terminal.read(&mut byte).ok()? == 1 && byte[0] != b'\n' {
        line.push(char::from(byte[0]));
        if line.len() > limits::NAME_LEN_MAX {
            break;
        }
    }
    Some(line)
}

/// The terminal of the process, whatever its standard input and output are.
struct Terminal {
    tty: File,
    before: Termios,
}

impl Terminal {
    fn open(option: &str) -> Result<Self> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .and_then(|tty| {
                let before = tcgetattr(&tty)?;
                Ok(Self { tty, before })
            });
        opened.map_err(|_| {
            Failure::usage("there is no terminal to ask at").hint(format!(
                "name a file with {option} FILE, or `-` for standard input"
            ))
        })
    }

    /// Asks for a line without showing it. Interrupting gives the terminal back as it was.
    fn ask(&mut self, prompt: &str) -> Result<SecretBytes> {
        let failed = |source: io::Error| Failure::io("the terminal", &source);
        let mut quiet = self.before.clone();
        // Byte by byte, and the key that interrupts is read as one: no signal ends the program with the echo off.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        write!(self.tty, "{prompt}: ").map_err(failed)?;
        tcsetattr(&self.tty, OptionalActions::Flush, &quiet)
            .map_err(|source| failed(source.into()))?;
        let line = self.read_line();
        self.restore();
        writeln!(self.tty).map_err(failed)?;
        line.map_err(failed)
    }

    fn read_line(&mut self) -> io::Result<SecretBytes> {
        const INTERRUPT: u8 = 0x03;
        const END: u8 = 0x04;
        const KILL: u8 = 0x15;
        let mut line = Zeroizing::new([0; limits::PASSWORD_LEN_MAX]);
        let mut len = 0;
        loop {
            let mut byte = Zeroizing::new([0]);
            if self.tty.read(byte.as_mut())? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match byte[0] {
                b'\n' | b'\r' | END => return Ok(SecretBytes::copy_from(&line[..len])),
                INTERRUPT => return Err(io::Error::other("interrupted")),
                KILL => len = 0,
                0x08 | 0x7f => {
                    // A whole character, however many bytes it has.
                    while len > 0 {
                        len -= 1;
                        if line[len] & 0xc0 != 0x80 {
                            break;
                        }
                    }
                }
                byte if len < line.len() => {
                    line[len] = byte;
                    len += 1;
                }
                _ => return Err(io::Error::other("the line is too long")),
            }
        }
    }

    fn restore(&self) {
        // Nothing is left to do for a terminal that is gone.
        tcsetattr(&self.tty, OptionalActions::Flush, &self.before).unwrap_or_default();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
