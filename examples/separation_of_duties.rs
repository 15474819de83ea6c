//! Four people and one HSM: an administrator, an officer, a user of keys and an auditor each try everything. Nobody can do
//! alone what two should do, and the audit log has it all.
//!
//! `cargo run -p hsm-examples --bin separation_of_duties`
//!
//! It leaves the HSM, `audit-key.pem` and `audit.txt` in a folder that it names.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

use hsm_client::kinds::{Aes256Kwp, EcdsaP256};
use hsm_client::{BuiltInRole, ErrorKind, Hsm, PublicKey, Scope, Session, Setup, audit};

const PASSWORD: &str = "a password for each of the four";

/// Who there is, and with which role at which scope.
const PEOPLE: [(&str, BuiltInRole, Scope); 4] = [
    ("administrator", BuiltInRole::Administrator, Scope::Global),
    ("officer", BuiltInRole::CryptoOfficer, Scope::Global),
    ("user", BuiltInRole::CryptoUser, Scope::Keys),
    ("auditor", BuiltInRole::CryptoAuditor, Scope::Global),
];

/// What everybody tries, and who can.
const DUTIES: [(Duty, &[&str]); 9] = [
    (Duty::AddUser, &["administrator"]),
    (Duty::GrantRole, &["administrator", "officer"]),
    (Duty::MakeKey, &["user"]),
    (Duty::ReadKey, &["user", "auditor"]),
    (Duty::Sign, &["user"]),
    (Duty::WrapKey, &["user"]),
    (Duty::DeleteKey, &["user"]),
    (Duty::PurgeKey, &["officer"]),
    (Duty::ReadAudit, &["administrator", "auditor"]),
];

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[derive(Clone, Copy, Debug)]
enum Duty {
    AddUser,
    GrantRole,
    MakeKey,
    ReadKey,
    Sign,
    WrapKey,
    DeleteKey,
    PurgeKey,
    ReadAudit,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("separation_of_duties: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let folder = tempfile::Builder::new().prefix("duties-").tempdir()?.keep();
    let url = format!("soft:{}", folder.join("dev.hsm").display());
    let hsm = Hsm::create(&url, Setup::new("administrator", PASSWORD)).await?;
    let audit_key = hsm
        .audit_key()
        .cloned()
        .ok_or("a local HSM has an audit key")?;
    fs::write(folder.join("audit-key.pem"), audit_key.to_pem()?)?;

    let sessions = people(&hsm).await?;
    let refused = everybody_tries(&sessions).await?;

    // The way around is closed as well, or open and in the log: who makes roles can make one for himself, and is seen.
    println!(
        "\nThe administrator cannot use a key, and can give himself the role: the auditor sees it in the log."
    );
    let administrator = &sessions["administrator"];
    let grant = administrator
        .assign_role(BuiltInRole::CryptoUser, "administrator", Scope::Keys)
        .await?;
    administrator.unassign_role(grant.id).await?;

    drop(sessions);
    hsm.close().await?;
    let log = fs::File::create(folder.join("audit.txt"))?;
    check_log(&url, &audit_key, log, refused)?;
    println!("\nThe HSM is gone; verify its log once more without it:\n");
    println!(
        "    cargo run -p hsm-server --bin hsm -- audit verify {url} --audit-key {}",
        folder.join("audit-key.pem").display()
    );
    Ok(())
}

/// Logs everybody in; the administrator makes the others first.
async fn people(hsm: &Hsm) -> Outcome<BTreeMap<&'static str, Session>> {
    let administrator = hsm.login("administrator", PASSWORD).await?;
    let mut sessions = BTreeMap::new();
    for (name, role, scope) in PEOPLE {
        if name != "administrator" {
            administrator.create_user(name, PASSWORD).await?;
            administrator.assign_role(role, name, scope).await?;
        }
        sessions.insert(name, hsm.login(name, PASSWORD).await?);
    }
    // What the four try things on.
    let user = &sessions["user"];
    user.create::<EcdsaP256>("invoices").await?;
    user.create::<Aes256Kwp>("wrapping").await?;
    Ok(sessions)
}

/// Prints a table of what each tried and what the HSM answered; returns how many attempts it refused.
async fn everybody_tries(sessions: &BTreeMap<&'static str, Session>) -> Outcome<u64> {
    let mut refused = 0;
    print!("{:12}", "");
    for (name, ..) in PEOPLE {
        print!("{name:>15}");
    }
    println!();
    for (duty, allowed) in DUTIES {
        print!("{:12}", format!("{duty:?}"));
        for (name, ..) in PEOPLE {
            prepare(duty, &sessions["user"], name).await?;
            let answer = attempt(duty, &sessions[name], name).await;
            let may = allowed.contains(&name);
            let said = match &answer {
                Ok(()) => "yes",
                Err(error) if error.kind() == ErrorKind::Denied => "no",
                Err(other) => return Err(format!("{name}, {duty:?}: {other}").into()),
            };
            assert_eq!(answer.is_ok(), may, "{name}, {duty:?}");
            refused += u64::from(answer.is_err());
            print!("{said:>15}");
        }
        println!();
    }
    let Err(refusal) = attempt(Duty::Sign, &sessions["administrator"], "").await else {
        return Err("the administrator signed".into());
    };
    println!("\nThe administrator was told: {refusal}");
    Ok(refused + 1)
}

/// Keys to be deleted and purged have to be there.
async fn prepare(duty: Duty, user: &Session, name: &str) -> Outcome {
    let name = format!("{duty:?}-{name}");
    if let Duty::DeleteKey | Duty::PurgeKey = duty {
        let key = user.create::<EcdsaP256>(&name).await?;
        if let Duty::PurgeKey = duty {
            key.delete().await?;
        }
    }
    Ok(())
}

async fn attempt(duty: Duty, session: &Session, name: &str) -> hsm_client::Result<()> {
    // Requests as they are: the typed handles would read the key first, which is a duty of its own.
    use hsm_core::{Algorithm, Request, SignInput};

    let own = format!("{duty:?}-{name}");
    match duty {
        Duty::AddUser => session.create_user(&own, PASSWORD).await,
        Duty::GrantRole => {
            let role = BuiltInRole::CryptoServiceEncryptionUser;
            session.assign_role(role, &own, Scope::Keys).await.map(drop)
        }
        Duty::MakeKey => session.create::<EcdsaP256>(&own).await.map(drop),
        Duty::ReadKey => session.key::<EcdsaP256>("invoices").await.map(drop),
        Duty::Sign => {
            let request = Request::Sign {
                key: "invoices".parse()?,
                algorithm: Algorithm::Es256,
                input: SignInput::Message(b"pay 100 to Alice"),
            };
            session.call(request).await.map(drop)
        }
        Duty::WrapKey => {
            let request = Request::Wrap {
                key: "wrapping".parse()?,
                algorithm: Algorithm::A256Kwp,
                plaintext: &[7; 32],
            };
            session.call(request).await.map(drop)
        }
        Duty::DeleteKey => {
            let name = own.parse()?;
            session.call(Request::DeleteKey { name }).await.map(drop)
        }
        Duty::PurgeKey => session.purge_key(&own).await,
        Duty::ReadAudit => {
            let streams = session.audit_streams().await?;
            for stream in streams {
                session.read_audit(stream, 0, 1).await?;
            }
            session.settings().await.map(drop)
        }
    }
}

/// Verifies the log from the folder, with the audit key alone, and finds every refusal in it.
fn check_log(url: &str, key: &PublicKey, mut log: fs::File, refused: u64) -> Outcome {
    use std::io::Write;

    let mut denied = BTreeMap::<String, u64>::new();
    let mut gave_himself = 0;
    let to_himself = format!(" to administrator at {}", Scope::Keys);
    let mut lines = Vec::new();
    let report = audit::verify(url, key, |record| {
        lines.push(record.to_string());
        if record.event.failure == Some(ErrorKind::Denied) {
            *denied
                .entry(record.event.principal.to_string())
                .or_default() += 1;
        }
        let detail = &record.event.detail;
        gave_himself +=
            u32::from(record.event.principal == "administrator" && detail.ends_with(&to_himself));
    })?;
    writeln!(log, "{}", lines.join("\n"))?;
    println!(
        "\nThe audit log verifies: {} records in {} streams, {} without a signature. Refused:",
        report.records, report.streams, report.unsigned
    );
    for (who, times) in &denied {
        println!("{times:>6} times {who}");
    }
    assert_eq!(denied.values().sum::<u64>(), refused);
    assert!(gave_himself > 0, "the auditor would not see it");
    Ok(())
}
