//! Signs a contract with a key and a certificate chain of the HSM, beside the contract (a detached signature), and verifies
//! it as anybody can who has the root's certificate.
//!
//! `cargo run -p hsm-examples --bin sign_document`
//!
//! It leaves all it makes in the folder `sign_document` (anew each time), and prints the `openssl` command that verifies the
//! signature without us.

use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

use hsm_client::cms::{self, DetachedSignature, DocumentSigner, Purpose, Trust};
use hsm_client::kinds::{EcdsaP256, EcdsaP384};
use hsm_client::x509::x509_cert::der::DecodePem;
use hsm_client::x509::{self, Certificate, CertificateAuthority, CertificateRequest, Profile};
use hsm_client::{BuiltInRole, Hsm, Scope, Session, Setup};

const FOLDER: &str = "sign_document";
const URL: &str = "soft:sign_document/notary.hsm";
const ADMIN_PASSWORD: &str = "the administrator's password";
const CLERK_PASSWORD: &str = "the clerk's password";
const CONTRACT: &str = "Alice sells Bob a cow, for 100 pounds.\n";
const FORGED: &str = "Alice sells Bob a cow, for 900 pounds.\n";

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sign_document: {error}");
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
    let session = clerk(&hsm).await?;
    write("contract.txt", CONTRACT)?;
    write("forged.txt", FORGED)?;

    // The certificate says whose key it is. The signer checks that it is for this key, and takes the chain along.
    let authority = authority(&session).await?;
    let key = session.create::<EcdsaP256>("contracts").await?;
    let subject = "CN=Alice Adams,O=Example,C=GB";
    let request = CertificateRequest::new(&key, subject, ["alice@example.com"]).await?;
    let certificate = authority
        .issue(&request, Profile::DocumentSigning, x509::days(365)?)
        .await?;
    let chain = [authority.certificate().clone()];
    let signer = DocumentSigner::new(&key, certificate, chain).await?;

    // The file may have any size: the HSM gets its digest, within the attributes that it signs.
    let signature = signer.sign(File::open(path("contract.txt"))?).await?;
    write("contract.txt.cms", &signature.to_pem()?)?;
    hsm.close().await?;

    // From here on there is no HSM: three files are enough.
    println!("{}", verify("contract.txt")?);
    match verify("forged.txt") {
        Ok(signers) => return Err(format!("a forged contract was accepted: {signers}").into()),
        Err(error) => println!("forged.txt is refused: {error}"),
    }

    println!("\nOpenSSL accepts the contract, and refuses the forged one:");
    for document in ["contract.txt", "forged.txt"] {
        println!(
            "  (cd {FOLDER} && openssl cms -verify -binary -inform PEM -in contract.txt.cms -content {document} \
             -CAfile root.pem -purpose any -out /dev/null)"
        );
    }
    Ok(())
}

/// A user who may make and use keys, and administers nothing.
async fn clerk(hsm: &Hsm) -> Outcome<Session> {
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("clerk", CLERK_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "clerk", Scope::Keys)
        .await?;
    Ok(hsm.login("clerk", CLERK_PASSWORD).await?)
}

/// An authority below a root, both in the HSM. In earnest the certificate comes from one that others know already.
async fn authority(session: &Session) -> Outcome<CertificateAuthority<EcdsaP256>> {
    let key = session.create::<EcdsaP384>("root").await?;
    let subject = "CN=Example Root,O=Example,C=GB";
    let root = CertificateAuthority::root(session, &key, subject, x509::days(3650)?).await?;
    write("root.pem", &x509::to_pem(root.certificate())?)?;

    let key = session.create::<EcdsaP256>("issuing").await?;
    let subject = "CN=Example Signing CA,O=Example,C=GB";
    let request = CertificateRequest::new(&key, subject, [""; 0]).await?;
    let profile = Profile::IssuingCa { path_len: 0 };
    let certificate = root.issue(&request, profile, x509::days(1825)?).await?;
    Ok(CertificateAuthority::open(session, &key, certificate).await?)
}

/// What a reader of the contract does: who signed it, if the root vouches for them.
fn verify(document: &str) -> Outcome<String> {
    let root = Certificate::from_pem(fs::read(path("root.pem"))?)?;
    let trust = Trust::new(Purpose::DocumentSigning, [root])?;
    let signature = DetachedSignature::from_pem(fs::read(path("contract.txt.cms"))?)?;
    let signers = cms::verify(&signature, File::open(path(document))?, &trust)?;
    let names: Vec<_> = signers
        .iter()
        .map(|signer| signer.certificate().tbs_certificate().subject().to_string())
        .collect();
    Ok(format!("{document} is signed by {}", names.join(" and ")))
}

fn write(name: &str, text: &str) -> Outcome {
    fs::write(path(name), text)?;
    println!("wrote {}", path(name));
    Ok(())
}

fn path(name: &str) -> String {
    format!("{FOLDER}/{name}")
}
