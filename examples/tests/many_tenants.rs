//! `many_tenants` runs, and each log that it leaves verifies with its own key only.

use std::path::Path;
use std::process::Command;

use hsm_client::{ErrorKind, PublicKey, audit};

#[test]
fn tenants_do_not_see_each_other() {
    let run = Command::new(env!("CARGO_BIN_EXE_many_tenants"))
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        run.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    println!("{said}");
    let folder = said.trim_end().rsplit_once(' ').unwrap().1;
    let folder = Path::new(folder).parent().unwrap();
    let tenants = ["acme", "globex", "initech"];
    for tenant in tenants {
        assert!(said.contains(&format!("{tenant}'s log verifies")), "{said}");
        let url = format!("soft:{}", folder.join(tenant).display());
        for owner in tenants {
            let key = folder.join(format!("{owner}-audit-key.pem"));
            let key = PublicKey::from_pem(&std::fs::read_to_string(key).unwrap()).unwrap();
            match audit::verify(&url, &key, |_| ()) {
                Ok(_) => assert_eq!(owner, tenant),
                Err(error) => {
                    assert_ne!(owner, tenant, "{error}");
                    assert_eq!(error.kind(), ErrorKind::Damaged);
                }
            }
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
