//! Keys that live in a TPM 2.0: one signs, and with another TPM the HSM does not open.
//!
//! `cargo run -p hsm-examples --bin tpm_sealed`
//!
//! It starts a simulator (swtpm) of its own, and skips where there is none. With a real TPM:
//!
//! `cargo run -p hsm-examples --bin tpm_sealed -- /dev/tpmrm0`
//!
//! Everything is in a temporary folder, which is removed in the end. In a TPM it leaves nothing.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use hsm_client::kinds::EcdsaP256;
use hsm_client::{Algorithm, BuiltInRole, Hsm, Scope, Setup, SignInput};
use hsm_testkit::TpmSimulator;

const ADMIN_PASSWORD: &str = "the administrator's password";
const APP_PASSWORD: &str = "the application's password";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (device, None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: tpm_sealed [DEVICE]");
        return ExitCode::from(2);
    };
    match run(device).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tpm_sealed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(device: Option<String>) -> Outcome {
    let home = tempfile::tempdir()?;
    let missing = TpmSimulator::missing();
    let (tpm, _simulator) = match (device, &missing) {
        // What stands behind `tpm:` in a URL.
        (Some(device), _) => (device, None),
        (None, None) => {
            let simulator = start(&home.path().join("tpm"))?;
            (format!("//{}", simulator.address()), Some(simulator))
        }
        (None, Some(reason)) => {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
    println!("the TPM is {tpm}");

    // Keys in the TPM; the store, the audit log and the roles in a folder.
    let folder = home.path().join("resident.hsm");
    let url = format!("tpm:{tpm}?folder={}", folder.display());
    sign(&url).await?;

    // Another process comes later, and has the key again.
    let hsm = Hsm::open(&url).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;
    let key = app.key::<EcdsaP256>("invoices").await?;
    key.sign(b"pay 200 to Bob").await?;
    println!("opened again, and signed");
    hsm.close().await?;

    // Whoever copies the folder has nothing: another TPM does not open it.
    if missing.is_none() {
        let thief = start(&home.path().join("another-tpm"))?;
        let copy = format!("tpm://{}?folder={}", thief.address(), folder.display());
        match Hsm::open(&copy).await {
            Ok(_) => return Err("another TPM opened the HSM".into()),
            Err(error) => println!("with another TPM: {error}"),
        }
    }
    Ok(())
}

/// Makes an HSM, and a key in the TPM, which signs.
async fn sign(url: &str) -> Outcome {
    let hsm = Hsm::create(url, Setup::new("admin", ADMIN_PASSWORD)).await?;
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("app", APP_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;

    let app = hsm.login("app", APP_PASSWORD).await?;
    let key = app.create::<EcdsaP256>("invoices").await?;
    let message = b"pay 100 to Alice";
    let signature = key.sign(message).await?;
    // With the public key alone, as anybody elsewhere would.
    let public = key.public_key().await?;
    public.verify(
        Algorithm::Es256,
        SignInput::Message(message),
        signature.bytes(),
    )?;
    println!("a key that lives in the TPM signed, and its signature verifies");
    hsm.close().await?;
    Ok(())
}

/// A TPM in software, with its state in a new folder.
fn start(state: &Path) -> Outcome<TpmSimulator> {
    fs::create_dir(state)?;
    Ok(TpmSimulator::start(state))
}
