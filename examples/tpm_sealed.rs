//! The TPM of a machine, in the two ways in which an HSM uses it, and a proof of it for others.
//!
//! `cargo run -p hsm-examples --bin tpm_sealed`
//!
//! 1. A software HSM is sealed to the TPM: it opens here, and nowhere else but with its recovery passphrase.
//! 2. A key lives in the TPM and signs there.
//! 3. A key report proves that to somebody who has neither.
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

use hsm_client::attestation::{AttestationKeyId, Nonce, Pcrs, Verifier};
use hsm_client::kinds::EcdsaP256;
use hsm_client::{
    Algorithm, BuiltInRole, Hsm, OpenOptions, PublicKey, Scope, Setup, SignInput, TpmSeal,
};
use hsm_testkit::TpmSimulator;

const ADMIN_PASSWORD: &str = "the administrator's password";
const APP_PASSWORD: &str = "the application's password";
const RECOVERY: &str = "a long passphrase, on paper in a safe";

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
    // The TPM of another machine, to which somebody takes what he copied.
    let thief = match missing {
        None => Some(start(&home.path().join("another-tpm"))?),
        Some(_) => None,
    };
    let thief = thief.as_ref().map(|tpm| format!("//{}", tpm.address()));

    println!("the TPM is {tpm}");
    sealed(&home.path().join("sealed.hsm"), &tpm, thief.as_deref()).await?;
    resident(&home.path().join("resident.hsm"), &tpm, thief.as_deref()).await?;
    Ok(())
}

/// A software HSM: fast keys of every kind, in the memory of this process, at rest under the TPM.
async fn sealed(folder: &Path, tpm: &str, thief: Option<&str>) -> Outcome {
    println!("\na software HSM, sealed to the TPM");
    let url = format!("soft:{}", folder.display());
    // Firmware, its drivers, the boot loader and secure boot: other ones, and it does not open by itself.
    let mut setup = Setup::new("admin", ADMIN_PASSWORD)
        .tpm(TpmSeal::new(tpm).pcrs(&[0, 2, 4, 7]))
        .recovery_passphrase(RECOVERY);
    if thief.is_some() {
        // Finds out an older copy of the folder. A real TPM would keep the counter after this program.
        setup = setup.count_changes();
    }
    let hsm = Hsm::create(&url, setup).await?;
    add_application(&hsm).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;
    app.create::<EcdsaP256>("invoices").await?;
    hsm.close().await?;

    // Another process comes later, on this machine.
    let hsm = Hsm::open_with(&url, OpenOptions::new().tpm(TpmSeal::new(tpm))).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;
    app.key::<EcdsaP256>("invoices")
        .await?
        .sign(b"pay 100 to Alice")
        .await?;
    hsm.close().await?;
    println!("  with its TPM: it opens, and signs");

    if let Some(thief) = thief {
        let options = OpenOptions::new().tpm(TpmSeal::new(thief));
        match Hsm::open_with(&url, options).await {
            Ok(_) => return Err("another TPM opened the HSM".into()),
            Err(error) => println!("  with another TPM: {error}"),
        }
    }

    // The day on which the board was replaced. (The TPM that is named here only counts.)
    let options = OpenOptions::new()
        .tpm(TpmSeal::new(tpm))
        .passphrase(RECOVERY);
    Hsm::open_with(&url, options).await?.close().await?;
    println!("  with the passphrase from the safe: it opens");
    Ok(())
}

/// Keys in the TPM; the store, the audit log and the roles in a folder.
async fn resident(folder: &Path, tpm: &str, thief: Option<&str>) -> Outcome {
    println!("\na key that lives in the TPM");
    let url = format!("tpm:{tpm}?folder={}", folder.display());
    let hsm = Hsm::create(&url, Setup::new("admin", ADMIN_PASSWORD)).await?;
    add_application(&hsm).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;
    let key = app.create::<EcdsaP256>("payments").await?;
    let message = b"pay 200 to Bob";
    let signature = key.sign(message).await?;
    // With the public key alone, as anybody elsewhere would.
    let public = key.public_key().await?;
    public.verify(
        Algorithm::Es256,
        SignInput::Message(message),
        signature.bytes(),
    )?;
    println!("  it signs, and its signature verifies");

    // When the machine was enrolled, by somebody who stood before it: whose word counts from now on?
    let nonce = Nonce::new(random()?)?;
    let report = key.attest(&nonce).await?;
    let enrolled = Verifier::new(nonce)
        .danger_any_attestation_key()
        .verify(report.as_bytes())?;

    // Later, somebody elsewhere asks with a nonce of their own, and gets bytes back.
    let nonce = Nonce::new(random()?)?;
    let boot = Pcrs::of(&[0, 2, 4, 7])?;
    let report = key.attest_with_pcrs(&nonce, boot).await?;
    verify(
        report.as_bytes(),
        nonce,
        enrolled.attestation_key(),
        &public,
    )?;
    hsm.close().await?;

    // Whoever copies the folder has nothing.
    if let Some(thief) = thief {
        let copy = format!("tpm:{thief}?folder={}", folder.display());
        match Hsm::open(&copy).await {
            Ok(_) => return Err("another TPM opened the HSM".into()),
            Err(error) => println!("  with another TPM: {error}"),
        }
    }
    Ok(())
}

/// What a relying party does: no TPM, no HSM, no network.
fn verify(report: &[u8], nonce: Nonce, trusted: AttestationKeyId, key: &PublicKey) -> Outcome {
    let verifier = Verifier::new(nonce)
        .trust_attestation_key(trusted)
        .expect_public_key(key.clone());
    let verified = verifier.verify(report)?;
    println!(
        "  its key report is right: {}, {} bytes, made in a {} and never outside",
        verified.spec().key_type,
        report.len(),
        verified.level()
    );
    let tpm = verified.tpm().ok_or("software made the report")?;
    for (register, value) in tpm.pcrs() {
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("  PCR {register} holds {hex}");
    }

    // The same report again, for another question.
    let another = Verifier::new(Nonce::new([7; 32])?).trust_attestation_key(trusted);
    match another.verify(report) {
        Ok(_) => Err("an old report was believed".into()),
        Err(error) => {
            println!("  an old one is not believed: {error}");
            Ok(())
        }
    }
}

/// A user who makes and uses keys. The administrator cannot.
async fn add_application(hsm: &Hsm) -> Outcome {
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("app", APP_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;
    Ok(())
}

fn random() -> Outcome<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A TPM in software, with its state in a new folder.
fn start(state: &Path) -> Outcome<TpmSimulator> {
    fs::create_dir(state)?;
    Ok(TpmSimulator::start(state))
}
