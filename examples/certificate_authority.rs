//! A certificate authority whose keys are in the HSM: a root, an issuing authority below it, a server's certificate from its
//! request, and what becomes of it when it is revoked.
//!
//! `cargo run -p hsm-examples --bin certificate_authority`
//!
//! It leaves all it makes in the folder `certificate_authority` (anew each time), and prints the `openssl` commands that
//! accept the certificate before it is revoked and refuse it after.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use hsm_client::kinds::{EcdsaP256, EcdsaP384};
use hsm_client::x509::{
    self, Certificate, CertificateAuthority, CertificateRequest, CrlReason, Profile,
};
use hsm_client::{BuiltInRole, Hsm, Scope, Session, Setup};

const FOLDER: &str = "certificate_authority";
const URL: &str = "soft:certificate_authority/ca.hsm";
const ADMIN_PASSWORD: &str = "the administrator's password";
const CA_PASSWORD: &str = "the authority's password";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("certificate_authority: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    if Path::new(URL.trim_start_matches("soft:")).exists() {
        fs::remove_dir_all(FOLDER)?;
    }
    fs::create_dir(FOLDER).map_err(|error| format!("cannot make the folder {FOLDER}: {error}"))?;
    let hsm = Hsm::create(URL, Setup::new("admin", ADMIN_PASSWORD)).await?;
    let session = operator(&hsm).await?;

    let root = root(&session).await?;
    let issuing = issuing(&session, &root).await?;

    // The server makes its own key, wherever that is, and sends a request. Here its key is in the HSM too.
    let www = session.create::<EcdsaP256>("www").await?;
    let request =
        CertificateRequest::new(&www, "CN=www.example.com", ["www.example.com", "192.0.2.1"])
            .await?;
    write("www.csr", &request.to_pem()?)?;
    let certificate = serve(&issuing, &fs::read_to_string(path("www.csr"))?).await?;

    // A list of each authority says what is revoked: at first, nothing.
    let list = root.revocation_list(1, 30 * DAY, []).await?;
    write("root.crl", &x509::to_pem(&list)?)?;
    let list = issuing.revocation_list(1, 7 * DAY, []).await?;
    write("before.crl", &x509::to_pem(&list)?)?;

    // The server lost its key. The next list says so, before it is due.
    let serial = certificate.tbs_certificate().serial_number();
    let revoked = x509::revoked_now(serial, CrlReason::KeyCompromise)?;
    let list = issuing.revocation_list(2, 7 * DAY, [revoked]).await?;
    write("after.crl", &x509::to_pem(&list)?)?;
    println!("revoked {serial}");

    println!("\nOpenSSL accepts it before, and refuses it after:");
    for list in ["before.crl", "after.crl"] {
        println!(
            "  (cd {FOLDER} && openssl verify -crl_check_all -CAfile root.pem -CRLfile root.crl \
             -untrusted issuing.pem -CRLfile {list} -purpose sslserver www.pem)"
        );
    }
    hsm.close().await?;
    Ok(())
}

/// A user who may make and use keys, and administers nothing.
async fn operator(hsm: &Hsm) -> Outcome<Session> {
    let admin = hsm.login("admin", ADMIN_PASSWORD).await?;
    admin.create_user("ca", CA_PASSWORD).await?;
    admin
        .assign_role(BuiltInRole::CryptoUser, "ca", Scope::Keys)
        .await?;
    Ok(hsm.login("ca", CA_PASSWORD).await?)
}

/// The root signs itself, and then authorities only. In earnest it is an HSM of its own, in a safe.
async fn root(session: &Session) -> Outcome<CertificateAuthority<EcdsaP384>> {
    let key = session.create::<EcdsaP384>("root").await?;
    let subject = "CN=Example Root,O=Example,C=GB";
    let root = CertificateAuthority::root(session, &key, subject, x509::days(3650)?).await?;
    write("root.pem", &x509::to_pem(root.certificate())?)?;
    Ok(root)
}

/// The authority that issues to servers: it asks the root for its certificate, as anybody would.
async fn issuing(
    session: &Session,
    root: &CertificateAuthority<EcdsaP384>,
) -> Outcome<CertificateAuthority<EcdsaP256>> {
    let key = session.create::<EcdsaP256>("issuing").await?;
    let subject = "CN=Example Issuing CA,O=Example,C=GB";
    let request = CertificateRequest::new(&key, subject, [""; 0]).await?;
    let profile = Profile::IssuingCa { path_len: 0 };
    let certificate = root.issue(&request, profile, x509::days(1825)?).await?;
    write("issuing.pem", &x509::to_pem(&certificate)?)?;
    Ok(CertificateAuthority::open(session, &key, certificate).await?)
}

/// What an authority does with a request: verifies that the asker has the key, looks at the names, issues.
async fn serve(issuing: &CertificateAuthority<EcdsaP256>, request: &str) -> Outcome<Certificate> {
    let request = CertificateRequest::from_pem(request)?;
    println!(
        "{} asks for {} names",
        request.subject(),
        request.alternative_names().len()
    );
    let certificate = issuing
        .issue(&request, Profile::TlsServer, x509::days(90)?)
        .await?;
    write("www.pem", &x509::to_pem(&certificate)?)?;
    Ok(certificate)
}

fn write(name: &str, text: &str) -> Outcome {
    fs::write(path(name), text)?;
    println!("wrote {FOLDER}/{name}");
    Ok(())
}

fn path(name: &str) -> String {
    format!("{FOLDER}/{name}")
}
