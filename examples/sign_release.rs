//! Publishes releases of a program: a manifest of their files, signed by a key of the HSM that is rotated in between, and a
//! set of public keys that users verify them with. A version of the key that was compromised is no longer accepted.
//!
//! `cargo run -p hsm-examples --bin sign_release`
//!
//! It leaves all it makes in the folder `sign_release` (anew each time), and prints the `openssl` commands that verify the
//! manifests without us.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hsm_client::kinds::EcdsaP256;
use hsm_client::lifecycle::{Event, State};
use hsm_client::signature::p256::ecdsa::{DerSignature, VerifyingKey};
use hsm_client::signature::sha2::{Digest, Sha256};
use hsm_client::signature::spki::DecodePublicKey;
use hsm_client::signature::traits::{AsyncSigner, Verifier};
use hsm_client::{AttributesUpdate, BuiltInRole, Hsm, Key, PageRequest, Scope, Session, Setup};
use serde_json::{Map, Value, json};

const FOLDER: &str = "sign_release";
const URL: &str = "soft:sign_release/releases.hsm";
const ADMIN_PASSWORD: &str = "the administrator's password";
const PUBLISHER_PASSWORD: &str = "the publisher's password";
/// What users have of us: the public half of every version of the key, and whether it is still trusted.
const KEYS: &str = "keys.json";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sign_release: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    if Path::new(FOLDER).exists() {
        fs::remove_dir_all(FOLDER)?;
    }
    fs::create_dir(FOLDER)?;
    let hsm = Hsm::create(URL, Setup::new("admin", ADMIN_PASSWORD)).await?;
    let session = publisher(&hsm).await?;
    let key = session.create::<EcdsaP256>("releases").await?;

    let first = release(&key, "1.0.0").await?;
    key.rotate().await?;
    let second = release(&key, "1.1.0").await?;
    publish_keys(&key).await?;
    println!("\nthe key was rotated between the two; both verify with the published keys:");
    println!("  {}\n  {}", verify("1.0.0")?, verify("1.1.0")?);

    println!("\nwhat was changed does not:");
    change_a_byte("1.1.0/manifest.json")?;
    refused("1.1.0")?;
    change_a_byte("1.1.0/manifest.json")?; // back
    change_a_byte("1.0.0/program")?;
    refused("1.0.0")?;
    change_a_byte("1.0.0/program")?;

    // Somebody had the chance to sign with the first version: it is given up, and everybody told.
    let update = AttributesUpdate::new().event(Event::Compromise);
    key.at(first.parse()?).update(update).await?;
    publish_keys(&key).await?;
    println!("\nthe first version of the key was marked compromised:");
    refused("1.0.0")?;
    println!("  {}", verify("1.1.0")?);
    match key.at(first.parse()?).sign(b"a release").await {
        Ok(_) => return Err("a compromised version still signs".into()),
        Err(error) => println!("  the HSM signs nothing with it: {error}"),
    }
    hsm.close().await?;

    println!(
        "\nOpenSSL verifies the signatures too (but knows nothing of keys that were given up):"
    );
    for (release, version) in [("1.0.0", first), ("1.1.0", second)] {
        println!(
            "  (cd {FOLDER} && openssl dgst -sha256 -verify {version}.pem -signature {release}/manifest.sig {release}/manifest.json)"
        );
    }
    Ok(())
}

/// A user who may make and use keys, and administers nothing.
async fn publisher(hsm: &Hsm) -> Outcome<Session> {
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("publisher", PUBLISHER_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "publisher", Scope::Keys)
        .await?;
    Ok(hsm.login("publisher", PUBLISHER_PASSWORD).await?)
}

/// Builds a release, signs its manifest, and says which version of the key did.
async fn release(key: &Key<EcdsaP256>, release: &str) -> Outcome<String> {
    fs::create_dir(path(release))?;
    let files = ["LICENSE", "program"];
    fs::write(path(release).join("LICENSE"), "Do as you like.\n")?;
    fs::write(
        path(release).join("program"),
        format!("program {release}\n"),
    )?;

    // A signer stays at one version, so the version in the manifest is the one that signs it.
    let signer = key.signer().await?;
    let version = signer.version().to_string();
    let mut entries = Vec::new();
    for name in files {
        let (size, sha256) = measure(&path(release).join(name))?;
        entries.push(json!({ "name": name, "sha256": sha256, "size": size }));
    }
    let manifest = canonical(json!({
        "files": entries,
        "key": version,
        "product": "example",
        "release": release,
    }));
    let signature: DerSignature = signer.sign_async(manifest.as_bytes()).await?;
    fs::write(path(release).join("manifest.json"), manifest)?;
    fs::write(path(release).join("manifest.sig"), signature.as_bytes())?;
    println!("released {release}, signed by version {version} of the key");
    Ok(version)
}

/// The public halves of all versions. Users get them by a way that they trust: with the program, or from a web site.
async fn publish_keys(key: &Key<EcdsaP256>) -> Outcome {
    let mut keys = Map::new();
    for info in key.versions(PageRequest::default()).await?.items {
        let version = info.version.to_string();
        let pem = info.public.ok_or("a key without public half")?.to_pem()?;
        fs::write(path(&format!("{version}.pem")), &pem)?;
        let trusted = info.attributes.state != State::Compromised;
        keys.insert(version, json!({ "public_key": pem, "trusted": trusted }));
    }
    fs::write(path(KEYS), canonical(keys.into()))?;
    Ok(())
}

/// What an updater does before it installs: it has the published keys, and no HSM.
fn verify(release: &str) -> Outcome<String> {
    let keys: Value = serde_json::from_slice(&fs::read(path(KEYS))?)?;
    let bytes = fs::read(path(release).join("manifest.json"))?;
    let signature = fs::read(path(release).join("manifest.sig"))?;

    // All that is used of a manifest that is not verified yet is which key to verify it with.
    let manifest: Value = serde_json::from_slice(&bytes)?;
    let version = manifest["key"].as_str().ok_or("it names no key")?;
    let key = keys.get(version).ok_or("it names a key that is not ours")?;
    if key["trusted"] != true {
        return Err("its key was compromised: get a newer release".into());
    }
    let pem = key["public_key"]
        .as_str()
        .ok_or("a key without public half")?;
    VerifyingKey::from_public_key_pem(pem)?
        .verify(&bytes, &DerSignature::from_bytes(&signature)?)
        .map_err(|_| "its manifest is not what was signed")?;

    // A manifest of another release is genuine as well.
    if manifest["release"] != release {
        return Err("it is another release".into());
    }
    let files = manifest["files"].as_array().ok_or("it has no files")?;
    for file in files {
        let name = file["name"].as_str().ok_or("a file without name")?;
        let (size, sha256) = measure(&path(release).join(name))?;
        if file["size"] != size || file["sha256"] != sha256.as_str() {
            return Err(format!("its file {name} is not what was released").into());
        }
    }
    Ok(format!("{release} is genuine, all {} files", files.len()))
}

/// Verifies what must not be accepted.
fn refused(release: &str) -> Outcome {
    match verify(release) {
        Ok(_) => Err(format!("{release} was accepted").into()),
        Err(error) => {
            println!("  {release} is refused: {error}");
            Ok(())
        }
    }
}

/// The length of a file and its SHA-256 in hex, whatever its size.
fn measure(file: &Path) -> Outcome<(u64, String)> {
    let mut file = File::open(file)?;
    let (mut digest, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        digest.update(&buffer[..len]);
        size += len as u64;
    }
    let bytes = digest.finalize();
    Ok((
        size,
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// One text for one value: without spaces, names in order (as RFC 8785 has it; there are only texts and whole numbers).
fn canonical(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

fn change_a_byte(name: &str) -> Outcome {
    let mut bytes = fs::read(path(name))?;
    if let Some(last) = bytes.iter_mut().rfind(|byte| byte.is_ascii_digit()) {
        *last ^= 1;
    }
    Ok(fs::write(path(name), bytes)?)
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}
