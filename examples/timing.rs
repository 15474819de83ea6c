//! Looks for secrets in the time that refusals take, as dudect does (Reparaz, Balasch, Verbauwhede, 2017).
//!
//! `cargo run --release -p hsm-examples --bin timing -- --help`
//!
//! Each case makes two kinds of wrong input, in random order, and times what refuses them. If the time does not depend on
//! the kind, Welch's t over the two samples stays small, also over the fastest part of them alone, where other programs on
//! the machine disturb least. The first case leaks on purpose: if it does not stand out, the others say nothing.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use hsm_backend_soft::SoftDevice;
use hsm_client::blocking::Hsm;
use hsm_client::limits::LOGIN_DELAY_MAX;
use hsm_client::{
    Algorithm, Clock, Error, ErrorKind, KeySpec, KeyType, Setup, Timestamp, Usage, Usages,
};
use hsm_core::{Binding, CiphertextRef, Device, LoadedKey};
use pollster::block_on;

const USAGE: &str = "\
usage: timing [--samples N] [--logins N] [--only WORD]

  --samples N   calls of each case but the logins (100000 if not given)
  --logins N    logins of each case (600 if not given); each takes some 30 ms
  --only WORD   cases whose name has this word

Each case makes two kinds of wrong input in random order and compares the times of their refusals with Welch's t-test,
over all samples and over the fastest of them. |t| above 4.5 says that the times differ; above 10 there is no doubt.
The case `control` leaks on purpose.";

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("timing: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("timing: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    samples: usize,
    logins: usize,
    only: String,
}

impl Options {
    /// `None` if help is asked for.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Option<Self>> {
        let mut options = Self {
            samples: 100_000,
            logins: 600,
            only: String::new(),
        };
        while let Some(option) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{option} takes a value"))
            };
            match option.as_str() {
                "--help" | "-h" => return Ok(None),
                "--samples" => options.samples = value()?.parse()?,
                "--logins" => options.logins = value()?.parse()?,
                "--only" => options.only = value()?,
                _ => return Err(format!("there is no option {option}").into()),
            }
        }
        Ok(Some(options))
    }
}

fn run(options: &Options) -> Outcome {
    println!(
        "{:15} {:43} {:>8} {:>11} {:>10} {:>8}",
        "case", "compares", "samples", "median, ns", "apart, ns", "max |t|"
    );
    for (name, compares, make) in CASES {
        if !name.contains(&options.only) {
            continue;
        }
        let samples = if name.starts_with("login") {
            options.logins
        } else {
            options.samples
        };
        let Verdict { median, apart, t } = compare(&measure(make()?, samples)?);
        let verdict = match t {
            t if t < 0.0 => "too few samples",
            ..4.5 => "no difference found",
            ..10.0 => "perhaps different",
            _ => "different",
        };
        println!(
            "{name:15} {compares:43} {samples:8} {median:11.0} {apart:10.1} {t:8.1}  {verdict}"
        );
    }
    Ok(())
}

/// Which of the two kinds of wrong input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    First,
    Second,
}

/// Two kinds of wrong input, and what refuses them.
struct Case {
    input: Box<Input>,
    refuse: Box<Refuse>,
}

type Input = dyn FnMut(Kind) -> Outcome<Vec<u8>>;

/// Says whether the input was refused as it should be.
type Refuse = dyn FnMut(&[u8]) -> bool;

type Make = fn() -> Outcome<Case>;

const CASES: [(&str, &str, Make); 11] = [
    (
        "control",
        "a compare that leaks: first or last byte",
        control,
    ),
    ("hmac", "tag wrong in its first or last byte", hmac),
    ("gcm", "tag wrong in its first or last byte", gcm),
    ("kw", "wrapped key wrong in its first or last byte", || {
        key_wrap(Algorithm::A256Kw)
    }),
    ("kwp", "wrapped key wrong in its first or last byte", || {
        key_wrap(Algorithm::A256Kwp)
    }),
    ("cbc-length", "padding of length 0 or 17", || {
        cbc(|last, kind| {
            last[15] = if kind == Kind::First { 0 } else { 17 };
        })
    }),
    (
        "cbc-place",
        "padding wrong in its first or last byte",
        || {
            cbc(|last, kind| {
                last.fill(16);
                last[if kind == Kind::First { 0 } else { 14 }] = 0;
            })
        },
    ),
    ("oaep", "OAEP of another label, or no OAEP at all", || {
        oaep(Kind::Second)
    }),
    ("oaep-same", "OAEP of another label, both times", || {
        oaep(Kind::First)
    }),
    (
        "login-password",
        "password wrong in its first or last byte",
        || login(["admin", "admin"]),
    ),
    ("login-user", "password wrong, or no such user", || {
        login(["admin", "nobody"])
    }),
];

fn control() -> Outcome<Case> {
    let secret = random::<256>()?;
    Ok(Case {
        input: Box::new(move |kind| Ok(wrong(&secret, kind))),
        refuse: Box::new(move |guess| {
            let right = secret
                .iter()
                .zip(guess)
                .all(|(a, b)| black_box(a) == black_box(b));
            !right
        }),
    })
}

fn hmac() -> Outcome<Case> {
    let key = key(KeyType::HmacSha256, &[Usage::Sign, Usage::Verify])?;
    let message = random::<64>()?;
    let tag = block_on(key.mac(Algorithm::Hs256, &message))?;
    Ok(Case {
        input: Box::new(move |kind| Ok(wrong(&tag, kind))),
        refuse: Box::new(move |tag| {
            is_crypto(block_on(key.verify_mac(Algorithm::Hs256, &message, tag)))
        }),
    })
}

fn gcm() -> Outcome<Case> {
    let key = key(KeyType::Aes256, &[Usage::Encrypt, Usage::Decrypt])?;
    let sealed = block_on(key.encrypt(Algorithm::A256Gcm, &random::<64>()?, None, b""))?;
    let tag = sealed.tag.clone();
    Ok(Case {
        input: Box::new(move |kind| Ok(wrong(&tag, kind))),
        refuse: Box::new(move |tag| {
            let ciphertext = CiphertextRef {
                ciphertext: &sealed.ciphertext,
                iv: &sealed.iv,
                tag,
            };
            is_crypto(block_on(key.decrypt(Algorithm::A256Gcm, ciphertext, b"")))
        }),
    })
}

fn key_wrap(algorithm: Algorithm) -> Outcome<Case> {
    let key = key(KeyType::Aes256, &[Usage::WrapKey, Usage::UnwrapKey])?;
    let wrapped = block_on(key.wrap(algorithm, &random::<32>()?))?;
    Ok(Case {
        input: Box::new(move |kind| Ok(wrong(&wrapped, kind))),
        refuse: Box::new(move |wrapped| is_crypto(block_on(key.unwrap(algorithm, wrapped)))),
    })
}

/// `spoil` makes the last block of a plaintext one that is wrong as padding.
fn cbc(spoil: fn(&mut [u8], Kind)) -> Outcome<Case> {
    let encrypting = key(KeyType::Aes256, &[Usage::Encrypt, Usage::Decrypt])?;
    let decrypting = encrypting.clone();
    let input = move |kind| {
        let mut plaintext = random::<64>()?;
        spoil(&mut plaintext[48..], kind);
        // Without padding of its own.
        let made = block_on(encrypting.encrypt(Algorithm::A256Cbc, &plaintext, None, b""))?;
        Ok([made.iv, made.ciphertext].concat())
    };
    Ok(Case {
        input: Box::new(input),
        refuse: Box::new(move |bytes| {
            let (iv, ciphertext) = bytes.split_at(16);
            let ciphertext = CiphertextRef {
                ciphertext,
                iv,
                tag: b"",
            };
            is_crypto(block_on(decrypting.decrypt(
                Algorithm::A256CbcPad,
                ciphertext,
                b"",
            )))
        }),
    })
}

/// Numbers below the modulus that decrypt to OAEP of another label, or to nothing of the kind: what Manger's attack tells
/// apart. The second kind is as the first unless `second` says otherwise.
fn oaep(second: Kind) -> Outcome<Case> {
    const LEN: usize = 256;
    let key = key(KeyType::Rsa2048, &[Usage::WrapKey, Usage::UnwrapKey])?;
    let public = key.public().ok_or("an RSA key has a public half")?;
    let public = PublicEncryptingKey::from_der(&public.to_spki_der()?)?;
    let public = OaepPublicEncryptingKey::new(public)?;
    let input = move |kind| {
        if kind == Kind::Second && second == Kind::Second {
            let mut number = random::<LEN>()?.to_vec();
            // The modulus has its highest bit set.
            number[0] &= 0x7f;
            return Ok(number);
        }
        let mut number = vec![0; LEN];
        public.encrypt(
            &OAEP_SHA256_MGF1SHA256,
            &random::<32>()?,
            &mut number,
            Some(b"another label"),
        )?;
        Ok(number)
    };
    Ok(Case {
        input: Box::new(input),
        refuse: Box::new(move |wrapped| {
            is_crypto(block_on(key.unwrap(Algorithm::RsaOaep256, wrapped)))
        }),
    })
}

/// Logins of two users with a wrong password, at an HSM on disk.
fn login(users: [&'static str; 2]) -> Outcome<Case> {
    const PASSWORD: &str = "an administrator's password";
    let folder = tempfile::tempdir()?;
    let url = format!("soft:{}", folder.path().join("timing.hsm").display());
    let clock = Arc::new(Leaping::default());
    let setup = Setup::new("admin", PASSWORD).clock(clock.clone());
    let hsm = Hsm::create(&url, setup)?;
    let same = users[0] == users[1];
    Ok(Case {
        input: Box::new(move |kind| {
            let (user, place) = match kind {
                Kind::First => (users[0], Kind::First),
                Kind::Second if same => (users[1], Kind::Second),
                Kind::Second => (users[1], Kind::First),
            };
            Ok([
                user.as_bytes(),
                b":",
                &wrong(PASSWORD.as_bytes(), place)[..],
            ]
            .concat())
        }),
        refuse: Box::new(move |bytes| {
            // It lives as long as the HSM in it.
            let _folder = &folder;
            // Past every lock-out.
            clock.leap();
            let mut parts = bytes.splitn(2, |byte| *byte == b':');
            let user = parts.next().and_then(|user| str::from_utf8(user).ok());
            let password = parts.next().unwrap_or_default();
            let outcome = hsm.login(user.unwrap_or_default(), password);
            outcome.is_err_and(|error| error.kind() == ErrorKind::Unauthenticated)
        }),
    })
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
struct Leaping(AtomicU64);

impl Leaping {
    fn leap(&self) {
        let delay = 2 * LOGIN_DELAY_MAX.as_secs() * 1000;
        self.0.fetch_add(delay, Ordering::Relaxed);
    }
}

impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A new key of a device in memory.
fn key(key_type: KeyType, usages: &[Usage]) -> Outcome<Arc<dyn LoadedKey>> {
    let device = SoftDevice::in_memory()?;
    let spec = KeySpec::new(key_type, Usages::of(usages))?;
    let binding = Binding::new("timing", b"");
    let sealed = block_on(device.generate(&spec, &binding))?.sealed;
    Ok(block_on(device.load(&sealed, &binding))?)
}

/// `right` with another first or last byte.
fn wrong(right: &[u8], kind: Kind) -> Vec<u8> {
    let mut wrong = right.to_vec();
    let place = match kind {
        Kind::First => 0,
        Kind::Second => right.len() - 1,
    };
    wrong[place] ^= 1;
    wrong
}

fn is_crypto<T>(outcome: Result<T, Error>) -> bool {
    outcome.is_err_and(|error| error.kind() == ErrorKind::CryptoFailed)
}

fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// Times of refusals, in nanoseconds.
fn measure(mut case: Case, samples: usize) -> Outcome<Vec<(Kind, f64)>> {
    let mut times = Vec::with_capacity(samples);
    while times.len() < samples {
        // All are made before any is timed: making must not leave the caches warm for one kind.
        let mut inputs = Vec::with_capacity(BATCH);
        for byte in random::<BATCH>()? {
            let kind = if byte & 1 == 0 {
                Kind::First
            } else {
                Kind::Second
            };
            inputs.push((kind, (case.input)(kind)?));
        }
        for (kind, input) in inputs {
            let start = Instant::now();
            let refused = (case.refuse)(black_box(&input));
            let time = start.elapsed();
            if !refused {
                return Err("a wrong input was not refused as it should be".into());
            }
            times.push((kind, time.as_secs_f64() * 1e9));
        }
    }
    times.truncate(samples);
    Ok(times)
}

const BATCH: usize = 100;

struct Verdict {
    median: f64,
    /// How much later the second kind is refused, on average, where |t| is largest.
    apart: f64,
    /// Negative if there were too few times to tell.
    t: f64,
}

/// Welch's t over all times, and over those below each of dudect's percentiles.
fn compare(times: &[(Kind, f64)]) -> Verdict {
    let mut sorted = times.to_vec();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut verdict = Verdict {
        median: sorted.get(sorted.len() / 2).map_or(0.0, |(_, time)| *time),
        apart: 0.0,
        t: -1.0,
    };
    let mut samples = [Sample::default(); 2];
    // From the fastest to the slowest, so that each crop is what was seen so far.
    let mut crops = (1..=100)
        .map(|step| 1.0 - 0.5_f64.powf(f64::from(step) / 10.0))
        .peekable();
    let (mut seen, count) = (0.0, sorted.len() as f64);
    for (kind, time) in sorted {
        samples[kind as usize].add(time);
        seen += 1.0;
        let mut looks = seen == count;
        while crops.next_if(|crop| crop * count <= seen).is_some() {
            looks = true;
        }
        if looks && samples.iter().all(|sample| sample.count >= COUNT_MIN) {
            let (apart, t) = welch(samples);
            if t > verdict.t {
                (verdict.apart, verdict.t) = (apart, t);
            }
        }
    }
    verdict
}

/// Fewer times say nothing.
const COUNT_MIN: f64 = 50.0;

/// The distance of the means, and |t|.
fn welch([first, second]: [Sample; 2]) -> (f64, f64) {
    let apart = second.mean - first.mean;
    let error = (first.variance() / first.count + second.variance() / second.count).sqrt();
    if apart == 0.0 {
        return (0.0, 0.0);
    }
    (apart, apart.abs() / error)
}

/// Mean and variance by Welford's method.
#[derive(Clone, Copy, Default)]
struct Sample {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Sample {
    fn add(&mut self, time: f64) {
        self.count += 1.0;
        let delta = time - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (time - self.mean);
    }

    fn variance(&self) -> f64 {
        self.squares / (self.count - 1.0)
    }
}
