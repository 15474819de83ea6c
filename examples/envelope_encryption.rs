//! Encrypts the rows of a table and a large file under data keys that an HSM wraps, and rotates the HSM's key.
//!
//! `cargo run --release -p hsm-examples --bin envelope_encryption -- --size 1GiB`
//!
//! It makes the HSM, `rows.txt` and `file.enc` in `envelope.hsm` (anew each time), and ends with what it measured: the rate
//! of the file's encryption beside that of the raw AEAD, in the same run.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use hsm_client::blocking::{Envelope, Hsm, Key, Session};
use hsm_client::envelope::{Header, SEGMENT_LEN};
use hsm_client::kinds::Aes256Kwp;
use hsm_client::{BuiltInRole, Scope, Setup};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

const PASSWORD: &str = "the application's password";
const CUSTOMERS: [(&str, &str); 3] = [
    ("Alice", "4111 1111 1111 1111"),
    ("Bob", "5500 0000 0000 0004"),
    ("Carol", "3400 0000 0000 009"),
];
const MADE_HERE: &str = "made-by-envelope_encryption";
const USAGE: &str = "usage: envelope_encryption [--size 64MiB] [--folder envelope.hsm]";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let outcome = arguments().and_then(|(size, folder)| run(size, &folder));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("envelope_encryption: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(size: u64, folder: &Path) -> Outcome {
    make_anew(folder)?;
    let url = format!("soft:{}", folder.join("keys").display());
    let hsm = Hsm::create(&url, Setup::new("admin", "the administrator's password"))?;
    let admin = hsm.login("admin", "the administrator's password")?;
    admin.create_user("app", PASSWORD)?;
    admin.assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)?;
    let app = hsm.login("app", PASSWORD)?;
    let kek = app.create::<Aes256Kwp>("customer-data").make()?;
    println!(
        "made an HSM in {} with the key customer-data",
        folder.display()
    );

    table(&app, &kek, &folder.join("rows.txt"))?;
    file(&app, &kek, size, &folder.join("file.enc"))?;
    compare(&app, &kek, size)?;
    if let Some(memory) = peak_memory() {
        println!("the most memory that this process had: {memory}");
    }
    Ok(())
}

/// Empties the folder of an earlier run. Any other is somebody else's, and stays.
fn make_anew(folder: &Path) -> Outcome {
    if folder.exists() {
        if !folder.join(MADE_HERE).exists() {
            return Err(format!(
                "{} is there already, and not of this program; name another",
                folder.display()
            )
            .into());
        }
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    fs::write(folder.join(MADE_HERE), "")?;
    Ok(())
}

/// Card numbers, encrypted row by row. Each is bound to its row, and the rows share a data key.
fn table(app: &Session, kek: &Key<Aes256Kwp>, path: &Path) -> Outcome {
    let envelope = Envelope::new(app, kek);
    let context = |id: usize| format!("customers/{id}/card").into_bytes();
    let mut rows = Vec::new();
    for (id, (name, card)) in CUSTOMERS.into_iter().enumerate() {
        rows.push((name, envelope.seal(card.as_bytes(), &context(id))?));
    }
    println!("encrypted {} rows", rows.len());

    // One row's card in another's place is refused.
    let Err(refusal) = envelope.open(&rows[0].1, &context(1)) else {
        return Err("a card was read in another row".into());
    };
    println!("refused, as it should be: {refusal}");

    // A new version of the key: the data keys are wrapped anew, the rows stay as they are.
    let version = kek.rotate()?;
    for (_, sealed) in &mut rows {
        *sealed = envelope.rewrap(sealed)?;
        assert_eq!(Header::split(sealed)?.0.key_version(), version);
    }
    println!("rotated the key and wrapped the data keys anew");

    // A process that knows no data key yet reads everything back.
    let envelope = Envelope::new(app, kek);
    let mut file = File::create(path)?;
    for (id, (name, sealed)) in rows.iter().enumerate() {
        let card = envelope.open(sealed, &context(id))?;
        assert_eq!(card.expose(), CUSTOMERS[id].1.as_bytes());
        writeln!(file, "{name}\t{}", hex(sealed))?;
    }
    println!("read all rows back");
    Ok(())
}

/// A file of `size` bytes, which passes through one segment of memory.
fn file(app: &Session, kek: &Key<Aes256Kwp>, size: u64, path: &Path) -> Outcome {
    let envelope = Envelope::new(app, kek);
    let style =
        ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {bytes_per_sec}")?;
    let bar = |message: &'static str| {
        ProgressBar::new(size)
            .with_style(style.clone())
            .with_message(message)
    };

    let progress = bar("encrypting");
    let mut encryptor = envelope.encrypt_to(File::create(path)?, b"file.enc")?;
    encryptor.copy_from(&mut progress.wrap_read(Plaintext::new(size)))?;
    encryptor.finish()?;
    progress.finish();
    println!("encrypted {} to {}", HumanBytes(size), path.display());

    let started = Instant::now();
    kek.rotate()?;
    envelope.rewrap_file(path)?;
    println!(
        "took it to a new version of the key in {:.1?}",
        started.elapsed()
    );

    let progress = bar("decrypting");
    let mut decryptor = envelope.decrypt_from(File::open(path)?, b"file.enc")?;
    let mut check = progress.wrap_write(Check(Plaintext::new(size)));
    let len = decryptor.copy_to(&mut check)?;
    progress.finish();
    assert_eq!(len, size);
    println!("decrypted it, and it is as it was");
    Ok(())
}

/// The same bytes through the same buffers with and without us: from memory, to nowhere, in turns.
fn compare(app: &Session, kek: &Key<Aes256Kwp>, size: u64) -> Outcome {
    let envelope = Envelope::new(app, kek);
    let (mut ours, mut raw) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        let started = Instant::now();
        let mut encryptor = envelope.encrypt_to(io::sink(), b"")?;
        encryptor.copy_from(&mut Plaintext::new(size))?;
        encryptor.finish()?;
        ours = ours.min(started.elapsed());

        let started = Instant::now();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, app.random(32)?.expose())?);
        let (mut input, mut buffer) = (Plaintext::new(size), vec![0; SEGMENT_LEN]);
        for number in 0_u64.. {
            let len = input.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&number.to_be_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            let _tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer[..len])?;
        }
        raw = raw.min(started.elapsed());
    }
    let rate = |time: Duration| size as f64 / time.as_secs_f64() / f64::from(1 << 30);
    println!(
        "envelope {:.2} GiB/s, raw AES-256-GCM {:.2} GiB/s, ratio {:.2}",
        rate(ours),
        rate(raw),
        raw.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// Some bytes that are easily made, and are not all the same.
struct Plaintext {
    left: u64,
    block: Vec<u8>,
    at: usize,
}

impl Plaintext {
    fn new(size: u64) -> Self {
        let block = (0..251_u8).cycle().take(251 * 1024).collect();
        Self {
            left: size,
            block,
            at: 0,
        }
    }
}

impl Read for Plaintext {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < out.len() && self.left > 0 {
            let rest = &self.block[self.at..];
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let len = rest.len().min(out.len() - written).min(left);
            out[written..written + len].copy_from_slice(&rest[..len]);
            self.at = (self.at + len) % self.block.len();
            self.left -= len as u64;
            written += len;
        }
        Ok(written)
    }
}

/// Compares what is written to it.
struct Check(Plaintext);

impl Write for Check {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut expected = vec![0; data.len()];
        let len = self.0.read(&mut expected)?;
        if data == &expected[..len] {
            return Ok(len);
        }
        Err(io::Error::other("the file came back as another"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As Linux tells it.
fn peak_memory() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}

fn arguments() -> Outcome<(u64, PathBuf)> {
    let (mut size, mut folder) = (64 << 20, PathBuf::from("envelope.hsm"));
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--size" => size = bytes(&value).ok_or(USAGE)?,
            "--folder" => folder = value.into(),
            _ => return Err(USAGE.into()),
        }
    }
    Ok((size, folder))
}

fn bytes(text: &str) -> Option<u64> {
    let unit = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let factor = match &text[unit..] {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..unit].parse::<u64>().ok()?.checked_mul(factor)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
