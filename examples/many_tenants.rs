//! Three tenants, each with a partition: an HSM of its own, with its own users, keys, domain key and audit log. What is one's
//! does not exist for another.
//!
//! `cargo run -p hsm-examples --bin many_tenants`
//!
//! It leaves the partitions and their audit keys in a folder that it names. `hsm serve` puts such folders behind one
//! address, each under a host name of its own (docs/server.md).

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use hsm_client::kinds::EcdsaP256;
use hsm_client::{
    BuiltInRole, Credentials, ErrorKind, Hsm, PageRequest, PublicKey, Scope, Session, Setup,
    Signature, audit,
};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A tenant's partition, and its one user.
struct Tenant {
    name: &'static str,
    url: String,
    hsm: Hsm,
    app: Session,
    audit_key: PublicKey,
    signature: Signature,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("many_tenants: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let folder = tempfile::Builder::new()
        .prefix("tenants-")
        .tempdir()?
        .keep();
    let mut tenants = Vec::new();
    for name in TENANTS {
        tenants.push(Tenant::new(name, &folder).await?);
    }
    println!("made {} partitions in {}", tenants.len(), folder.display());

    for (here, there) in pairs(&tenants) {
        see_nothing(here, there).await?;
    }
    println!("no tenant sees a user, a key or a token of another, and no backup crosses over");

    let (logs, keys) = close(tenants).await?;
    for (here, (name, url)) in logs.iter().enumerate() {
        for (there, key) in keys.iter().enumerate() {
            let verified = audit::verify(url, key, |_| ());
            assert_eq!(verified.is_ok(), here == there);
            match verified {
                Ok(report) => println!("{name}'s log verifies: {} records", report.records),
                Err(error) if there == (here + 1) % keys.len() => {
                    println!("  with {}'s key it does not: {error}", logs[there].0);
                }
                Err(_) => {}
            }
        }
    }
    let (name, url) = &logs[0];
    println!("\nnow verify {name}'s log yourself:\n");
    println!(
        "    cargo run -p hsm-server --bin hsm -- audit verify {url} --audit-key {}",
        folder.join(format!("{name}-audit-key.pem")).display()
    );
    Ok(())
}

impl Tenant {
    /// Every tenant calls its people and keys the same, as nobody has told it not to.
    async fn new(name: &'static str, folder: &Path) -> Outcome<Self> {
        let url = format!("soft:{}", folder.join(name).display());
        let hsm = Hsm::create(&url, Setup::new("admin", password(name))).await?;
        let admin = hsm.login("admin", password(name)).await?;
        admin.create_user("app", password(name)).await?;
        admin.create_user(name, password(name)).await?;
        admin
            .assign_role(BuiltInRole::CryptoUser, "app", Scope::Keys)
            .await?;
        let app = hsm.login("app", password(name)).await?;
        let key = app.create::<EcdsaP256>("invoices").await?;
        app.create::<EcdsaP256>(&format!("only-{name}")).await?;
        let signature = key.sign(b"pay 100 to Alice").await?;
        let audit_key = hsm
            .audit_key()
            .cloned()
            .ok_or("a local HSM has an audit key")?;
        fs::write(
            folder.join(format!("{name}-audit-key.pem")),
            audit_key.to_pem()?,
        )?;
        Ok(Self {
            name,
            url,
            hsm,
            app,
            audit_key,
            signature,
        })
    }
}

/// What belongs to `there` does not exist for `here`.
async fn see_nothing(here: &Tenant, there: &Tenant) -> Outcome {
    // Users: the same name is another user, and a name of theirs is nobody here.
    expect(
        ErrorKind::Unauthenticated,
        here.hsm.login("app", password(there.name)).await,
    )?;
    expect(
        ErrorKind::Unauthenticated,
        here.hsm.login(there.name, password(there.name)).await,
    )?;
    let admin = here.hsm.login("admin", password(here.name)).await?;
    let users = admin.list_users(PageRequest::default()).await?;
    assert!(
        users
            .items
            .iter()
            .all(|user| user.name.as_str() != there.name)
    );

    // Keys: not found, rather than refused, so that nobody learns of them.
    let theirs = format!("only-{}", there.name);
    expect(
        ErrorKind::NotFound,
        here.app.key::<EcdsaP256>(&theirs).await,
    )?;
    let keys = here.app.list_keys(PageRequest::default()).await?;
    assert!(keys.items.iter().all(|key| key.name.as_str() != theirs));
    assert_eq!(keys.items.len(), 2);
    let invoices = here.app.key::<EcdsaP256>("invoices").await?;
    expect(
        ErrorKind::NotFound,
        invoices.verify(b"pay 100 to Alice", &there.signature).await,
    )?;

    // What is sealed for one is noise to another, and a token opens one door.
    let backup = there.app.backup_key(&theirs).await?;
    expect(ErrorKind::InvalidInput, here.app.restore_key(&backup).await)?;
    let their_admin = there.hsm.login("admin", password(there.name)).await?;
    let expires = hsm_client::Clock::now(&hsm_client::SystemClock::default())
        + std::time::Duration::from_secs(60);
    let name = format!("for-{}", here.name);
    let (token, _) = their_admin.create_token(&name, "app", expires).await?;
    there
        .hsm
        .login_with(Credentials::token(token.expose()))
        .await?;
    let refusal = here
        .hsm
        .login_with(Credentials::token(token.expose()))
        .await;
    expect(ErrorKind::Unauthenticated, refusal)
}

fn expect<T>(kind: ErrorKind, result: hsm_client::Result<T>) -> Outcome {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("expected `{kind}`, and it was: {error}").into()),
        Ok(_) => Err(format!("expected `{kind}`, and it was done").into()),
    }
}

/// Closes the partitions: names and URLs, and audit keys.
async fn close(tenants: Vec<Tenant>) -> Outcome<(Vec<(&'static str, String)>, Vec<PublicKey>)> {
    let mut logs = Vec::new();
    let mut keys = Vec::new();
    for tenant in tenants {
        drop(tenant.app);
        tenant.hsm.close().await?;
        logs.push((tenant.name, tenant.url));
        keys.push(tenant.audit_key);
    }
    Ok((logs, keys))
}

fn pairs(tenants: &[Tenant]) -> impl Iterator<Item = (&Tenant, &Tenant)> {
    let all = tenants
        .iter()
        .flat_map(|here| tenants.iter().map(move |there| (here, there)));
    all.filter(|(here, there)| here.name != there.name)
}

fn password(tenant: &str) -> String {
    format!("the password of {tenant}")
}
