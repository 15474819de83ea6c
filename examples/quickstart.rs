//! Signs and encrypts a file with keys that live in a software HSM, from nothing to a verified audit log.
//!
//! `cargo run --release -p hsm-examples --bin quickstart -- README.md`
//!
//! It makes the HSM in `quickstart.hsm` (anew each time), leaves `file.sig`, `file.enc` and `signing-key.pem` beside it,
//! and opens everything once more in a second process.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use hsm_client::envelope::Envelope;
use hsm_client::kinds::{Aes256Kwp, EcdsaP384};
use hsm_client::{
    Algorithm, BuiltInRole, ErrorKind, Hsm, Key, PageRequest, PublicKey, Scope, Setup, audit,
};

const FOLDER: &str = "quickstart.hsm";
const URL: &str = "soft:quickstart.hsm";
const ADMIN_PASSWORD: &str = "the administrator's password";
const APP_PASSWORD: &str = "the application's password";
/// What the encrypted file is; whoever decrypts it must know.
const CONTEXT: &[u8] = b"quickstart/file";
const USAGE: &str = "usage: quickstart FILE";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(file), again, None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let file = PathBuf::from(file);
    let outcome = match again {
        None => first_process(&file).await,
        Some(flag) if flag == "--reopen" => second_process(&file).await,
        Some(_) => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn first_process(file: &Path) -> Outcome {
    let contents = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if Path::new(FOLDER).exists() {
        std::fs::remove_dir_all(FOLDER)?;
        println!("removed the {FOLDER} of an earlier run");
    }

    // An HSM with an administrator, who cannot use keys, and a crypto user, who cannot administer.
    let hsm = Hsm::create(URL, Setup::new("admin", ADMIN_PASSWORD)).await?;
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("app", APP_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
        .await?;
    let audit_key = hsm
        .audit_key()
        .cloned()
        .ok_or("a local HSM has an audit key")?;
    println!("made an HSM in {FOLDER}, with the users admin and app");

    // Keys: made inside, never seen outside.
    let app = hsm.login("app", APP_PASSWORD).await?;
    let signing = app.create::<EcdsaP384>("signing").await?;
    let wrapping = app.create::<Aes256Kwp>("wrapping").await?;
    println!("made the keys signing (ES384) and wrapping (AES-256-KWP)");

    // Sign the file. OpenSSL takes the signature in ASN.1.
    let signature = signing.sign(&contents).await?;
    let public = signing.public_key().await?;
    std::fs::write("signing-key.pem", public.to_pem()?)?;
    std::fs::write(
        "file.sig",
        public.to_der_signature(Algorithm::Es384, signature.bytes())?,
    )?;
    println!("signed {} ({} bytes)", file.display(), contents.len());

    // Encrypt it under a fresh data key, and keep the data key only wrapped.
    let envelope = Envelope::new(&app, &wrapping);
    let sealed = envelope.seal(&contents, CONTEXT).await?;
    std::fs::write("file.enc", &sealed)?;
    println!("encrypted it under a data key that the HSM wrapped: file.enc");

    // New versions of both keys. What the old ones made still verifies and decrypts.
    let version = signing.rotate().await?;
    wrapping.rotate().await?;
    signing.verify(&contents, &signature).await?;
    assert_eq!(envelope.open(&sealed, CONTEXT).await?.expose(), contents);
    let newer = signing.sign(&contents).await?;
    assert_eq!(newer.version(), Some(version));
    println!("rotated both keys: the old signature verifies, the old data decrypts");

    // The administrator may not sign, and is told why.
    match admin.key::<EcdsaP384>("signing").await {
        Err(refusal) if refusal.kind() == ErrorKind::Denied => {
            println!("refused, as it should be: {refusal}");
        }
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("the administrator could use a key".into()),
    }

    // Everything that happened is in the log, and the log verifies with nothing but the audit key.
    std::fs::write("audit-key.pem", audit_key.to_pem()?)?;
    drop((app, admin, signing, wrapping, envelope));
    hsm.close().await?;
    let report = audit::verify(URL, &audit_key, |_| ())?;
    println!(
        "verified the audit log: {} records in {} streams",
        report.records, report.streams
    );

    // A second process has the same keys.
    let status = Command::new(std::env::current_exe()?)
        .arg(file)
        .arg("--reopen")
        .status()?;
    if !status.success() {
        return Err("the second process failed".into());
    }
    println!("\nnow verify the signature without us:\n");
    println!(
        "    openssl dgst -sha384 -verify signing-key.pem -signature file.sig {}",
        file.display()
    );
    Ok(())
}

async fn second_process(file: &Path) -> Outcome {
    let contents = std::fs::read(file)?;
    let hsm = Hsm::open(URL).await?;
    let app = hsm.login("app", APP_PASSWORD).await?;
    let signing: Key<EcdsaP384> = app.key("signing").await?;
    let wrapping: Key<Aes256Kwp> = app.key("wrapping").await?;
    assert_eq!(
        signing.versions(PageRequest::default()).await?.items.len(),
        2
    );

    let envelope = Envelope::new(&app, &wrapping);
    let opened = envelope.open(&std::fs::read("file.enc")?, CONTEXT).await?;
    assert_eq!(opened.expose(), contents);
    let signature = signing.sign(&contents).await?;
    signing.verify(&contents, &signature).await?;
    drop((app, signing, wrapping, envelope));
    hsm.close().await?;

    let audit_key = PublicKey::from_pem(&std::fs::read_to_string("audit-key.pem")?)?;
    let mut signed = 0;
    audit::verify(URL, &audit_key, |record| {
        signed += u32::from(
            record.event.algorithm == Some(Algorithm::Es384) && record.event.failure.is_none(),
        );
    })?;
    println!(
        "a second process decrypted file.enc and signed again; the log has {signed} uses of ES384"
    );
    Ok(())
}
