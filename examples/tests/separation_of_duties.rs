//! `separation_of_duties` runs, and another process verifies the log that it leaves.

use std::path::Path;
use std::process::Command;

use hsm_client::{ErrorKind, PublicKey, audit};

#[test]
fn duties_are_separate_and_the_log_says_so() {
    let run = Command::new(env!("CARGO_BIN_EXE_separation_of_duties"))
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    println!("{said}");
    let row = |duty: &str| {
        let row = said.lines().find(|line| line.starts_with(duty)).unwrap();
        row.split_whitespace().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(row("Sign"), ["no", "no", "yes", "no"]);
    assert_eq!(row("AddUser"), ["yes", "no", "no", "no"]);
    assert_eq!(row("PurgeKey"), ["no", "yes", "no", "no"]);
    assert_eq!(row("ReadAudit"), ["yes", "no", "no", "yes"]);

    // The verifier is another program than the one that wrote the log.
    let folder = said.trim_end().rsplit_once(' ').unwrap().1;
    let folder = Path::new(folder).parent().unwrap();
    let key = std::fs::read_to_string(folder.join("audit-key.pem")).unwrap();
    let key = PublicKey::from_pem(&key).unwrap();
    let url = format!("soft:{}", folder.join("dev.hsm").display());
    let mut denied = 0;
    let report = audit::verify(&url, &key, |record| {
        denied += u32::from(record.event.failure == Some(ErrorKind::Denied));
    });
    assert_eq!(report.unwrap().unsigned, 0);
    assert_eq!(denied, 25);
    std::fs::remove_dir_all(folder).unwrap();
}
