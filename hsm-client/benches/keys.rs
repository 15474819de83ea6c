//! Keys in numbers: how fast they are made, found and opened, and what they take on disk.
//!
//! `cargo bench -p hsm-client --bench keys`. The disk decides how fast one key after the other is made: each is durable
//! before it is acknowledged.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hsm_client::kinds::EcdsaP256;
use hsm_client::{BuiltInRole, Hsm, Key, Scope, Session, Setup};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const TASKS: usize = 64;
const SAMPLES: usize = 501;

/// Set for the process that opens what another has made, and has nothing else in its memory.
const CHILD: &str = "HSM_BENCH_OPEN";

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    if let Some(url) = std::env::var_os(CHILD) {
        let url = url.into_string().map_err(|_| "the URL is text")?;
        return pollster::block_on(open_and_look_up(&url));
    }
    // `cargo test --benches` runs benches as tests; there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread()
        .build()?
        .block_on(run())
}

async fn run() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bench.hsm");
    let url = format!("soft:{}", path.display());
    let hsm = Hsm::create(&url, Setup::new("admin", "administrator")).await?;
    let admin = hsm.login("admin", "administrator").await?;
    admin.create_user("app", "application").await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;
    let app = hsm.login("app", "application").await?;
    let start = Instant::now();
    for number in 0..SAMPLES {
        app.create::<EcdsaP256>(&name(number)).await?;
    }
    let one_by_one = per_second(SAMPLES, start.elapsed());
    drop((app, admin));
    hsm.close().await?;

    println!("P-256 keys made one by one: {one_by_one:.0}/s\n");
    println!(
        "| keys | made by {TASKS} tasks, /s | open, ms | find by name, µs | first use, µs | next use, µs | memory, MiB | on disk, bytes a key |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut made = SAMPLES;
    for size in SIZES {
        let hsm = Hsm::open(&url).await?;
        let app = hsm.login("app", "application").await?;
        let start = Instant::now();
        make(&app, made, size).await?;
        let rate = per_second(size - made, start.elapsed());
        made = size;
        drop(app);
        hsm.close().await?;

        let child = std::process::Command::new(std::env::current_exe()?)
            .env(CHILD, &url)
            .env("HSM_BENCH_KEYS", size.to_string())
            .output()?;
        let measured = String::from_utf8(child.stdout)?;
        println!(
            "| {size} | {rate:.0} | {} | {:.0} |",
            measured.trim(),
            bytes_in(&path)? / size as f64,
        );
    }
    Ok(())
}

/// What a process that uses an HSM of many keys sees of them.
async fn open_and_look_up(url: &str) -> Outcome {
    let size = std::env::var("HSM_BENCH_KEYS")?.parse()?;
    let mut times = Vec::new();
    for _ in 0..11 {
        let start = Instant::now();
        let hsm = Hsm::open(url).await?;
        times.push(start.elapsed());
        hsm.close().await?;
    }
    let hsm = Hsm::open(url).await?;
    let app = hsm.login("app", "application").await?;
    let [found, first, next] = look_up(&app, size).await?;
    println!(
        "{:.1} | {:.1} | {:.1} | {:.1} | {:.0}",
        median(&mut times).as_secs_f64() * 1e3,
        micros(found),
        micros(first),
        micros(next),
        resident_mib(),
    );
    Ok(())
}

fn name(number: usize) -> String {
    format!("key-{number}")
}

/// Makes the keys of these numbers, with [`TASKS`] tasks at once.
async fn make(app: &Session, from: usize, to: usize) -> Outcome {
    let next = Arc::new(AtomicUsize::new(from));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (app, next) = (app.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        return Ok::<_, hsm_client::Error>(());
                    }
                    app.create::<EcdsaP256>(&name(number)).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// The median times to find a key that was not used before, to sign with it for the first time, and once more.
async fn look_up(app: &Session, size: usize) -> Outcome<[Duration; 3]> {
    let mut times = [const { Vec::new() }; 3];
    for sample in 0..SAMPLES {
        // A walk over all keys in steps that share no factor with their number.
        let name = name(sample * 7919 % size);
        let start = Instant::now();
        let key: Key<EcdsaP256> = app.key(&name).await?;
        times[0].push(start.elapsed());
        for times in &mut times[1..] {
            let start = Instant::now();
            key.sign(b"message").await?;
            times.push(start.elapsed());
        }
    }
    Ok(times.each_mut().map(|times| median(times)))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The memory of this process that is its own (not mapped from files), where the system tells.
fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0
}

/// The size of the store.
fn bytes_in(folder: &Path) -> Outcome<f64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if file.file_type()?.is_file() {
            bytes += file.metadata()?.len();
        }
    }
    Ok(bytes as f64)
}
