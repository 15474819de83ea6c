//! The program `tls_offload` serves what openssl takes, and counts handshakes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Ends the server with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().expect("it is running");
        self.0.wait().expect("it has ended");
    }
}

#[test]
fn it_counts_both_servers() {
    let output = Command::new(env!("CARGO_BIN_EXE_tls_offload"))
        .args(["--handshakes", "80"])
        .output()
        .expect("it starts");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    assert!(
        output.status.success(),
        "{text}{:?}",
        String::from_utf8(output.stderr)
    );
    assert!(
        text.contains("the key of this server is in an HSM"),
        "{text}"
    );
    assert!(text.contains("80 full handshakes"), "{text}");
    let rates: Vec<f64> = text
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("key in ")?
                .strip_suffix(" a second")
        })
        .map(|line| {
            line.split_whitespace()
                .next_back()
                .expect("a number")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(
        rates.len() == 2 && rates.iter().all(|rate| *rate > 0.0),
        "{text}"
    );
    assert!(text.contains("ratio"), "{text}");
}

#[test]
fn openssl_verifies_it() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let server = Command::new(env!("CARGO_BIN_EXE_tls_offload"))
        .args(["--serve", "--handshakes", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut server = Server(server);
    let lines = BufReader::new(server.0.stdout.take().expect("it is piped")).lines();
    let command = lines
        .map(|line| line.expect("it prints text"))
        .find(|line| line.starts_with("openssl s_client"))
        .expect("it says how to try it");
    for (version, protocol) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        // As it is printed, but for the version.
        let output = Command::new("sh")
            .args([
                "-c",
                &command.replace("s_client", &format!("s_client {version}")),
            ])
            .output()
            .expect("sh starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
        assert!(text.contains(protocol), "{text}");
        assert!(text.contains("Peer signing digest: SHA256"), "{text}");
        assert!(text.contains("Peer signature type: ECDSA"), "{text}");
    }
    // Who does not know the authority does not connect.
    let (before, after) = command
        .split_once("-CAfile ")
        .expect("it names the authority");
    let (_, after) = after.split_once(' ').expect("there is more");
    let refused = Command::new("sh")
        .args(["-c", &format!("{before}-no-CAfile -no-CApath {after}")])
        .output()
        .expect("sh starts");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("verify error"), "{said}");
}
