//! Writes the seeds of the fuzz targets to `corpus/`: `cargo run --example seeds`, in this folder.

use std::fs;
use std::path::Path;

use hsm_core::audit::{Chain, Checkpoint, Entry, Event, RequestId, StreamEvent, StreamId};
use hsm_core::policy::{BuiltInRole, DataAction, RoleAssignment, RoleDefinition, RoleId};
use hsm_core::{Algorithm, Device, KeyType, PublicKey, SecretBytes, Timestamp};
use hsm_fuzz::{binding, device, spec};
use pollster::block_on;
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    audit_frames()?;
    jose_compact()?;
    envelope_header()?;
    key_backup()?;
    key_report()?;
    pkcs8_import()?;
    private_key()?;
    protector_file()?;
    providers()?;
    public_key()?;
    request()?;
    role_json()?;
    rotation_policy()?;
    sealed_key()?;
    store_record()?;
    tpm_reply()?;
    wire_request()?;
    wire_response()?;
    wrapped_import()?;
    Ok(())
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Done {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

/// The example of the documentation.
fn key_report() -> Done {
    let page = include_str!("../../docs/key_report.md");
    let dump = page.rsplit("```").nth(1).ok_or("the page has no dump")?;
    let digits: String = dump.lines().skip(1).collect();
    let bytes: Result<Vec<u8>, _> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16))
        .collect();
    seed("key_report", "documented", bytes?)
}

fn private_key() -> Done {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hsm-client/tests/keys");
    for name in [
        "ed25519.pk8.pem",
        "p256.sec1.pem",
        "p521.jwk",
        "rsa.jwk",
        "rsa.pkcs1.pem",
        "x25519.jwk",
    ] {
        seed("private_key", name, fs::read(keys.join(name))?)?;
    }
    Ok(())
}

fn jose_compact() -> Done {
    // Of RFC 7515 appendix A.5, RFC 7520 section 5.6 (without its text), and RFC 8037 appendix A.2.
    seed("jose_compact", "none", "eyJhbGciOiJub25lIn0.e30.")?;
    seed(
        "jose_compact",
        "signed",
        "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ.e30.AAAA",
    )?;
    let direct =
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..refa467QzzKx6QAB.AAAA.vbb32Xvllea2OtmHAdccRQ";
    seed("jose_compact", "encrypted", direct)?;
    let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    seed("jose_compact", "set", set)
}

/// The test vectors, without what is behind the mark, the version and the algorithm.
fn envelope_header() -> Done {
    let vectors =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../hsm-client/tests/vectors/envelope.json");
    let vectors: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(vectors)?)?;
    for (number, vector) in vectors.iter().enumerate().take(4) {
        let hex = vector["sealed"].as_str().ok_or("a vector has bytes")?;
        let bytes: Result<Vec<_>, _> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16))
            .collect();
        seed(
            "envelope_header",
            &format!("vector-{number}"),
            &bytes?[10..],
        )?;
    }
    Ok(())
}

/// Steps, whether the root key is pinned, and what is wrong with the answers.
fn tpm_reply() -> Done {
    seed("tpm_reply", "right", [4, 0, 16, 32, 48, 1])?;
    seed("tpm_reply", "resealed", [4, 8, 24, 40, 56, 1])?;
    // Forty answers are right, and then one is not.
    for (name, fault) in [
        ("parameters", &[3, 4, 0, 2, 7, 7][..]),
        ("bit", &[4, 1, 0x80]),
        ("truncated", &[5, 0, 12]),
        ("longer", &[5, 1, 3, 1, 2, 3]),
        ("altered", &[5, 2, 30, 1]),
        ("busy", &[6, 9, 0x22]),
        ("no_session", &[6, 9, 0x18]),
        ("no_place", &[6, 9, 2]),
        ("locked_out", &[6, 9, 0x21]),
        ("late", &[7, 0]),
        ("cut_off", &[7, 1]),
    ] {
        let script = [&[4, 0, 16, 0, 16, 1][..], &[0; 40], fault].concat();
        seed("tpm_reply", name, script)?;
    }
    Ok(())
}

fn key_backup() -> Done {
    seed("key_backup", "bit", [0, 0, 40, 1])?;
    seed("key_backup", "genuine", [0])?;
    seed("key_backup", "body", [1])?;
    seed("key_backup", "cut", [2, 0, 60])?;
    seed("key_backup", "other", b"\x03hsm key backup\x01")
}

fn audit_frames() -> Done {
    let stream = StreamId::from_bytes([7; 16]);
    let time = Timestamp::from_unix_seconds(1_800_000_000);
    let mut chain = Chain::new(stream);
    let event = Event {
        time,
        request: RequestId::from_u128(1),
        principal: "app".into(),
        action: DataAction::KeySign,
        target: "/keys/payments".into(),
        version: None,
        algorithm: Some(Algorithm::Es384),
        failure: None,
        detail: "".into(),
    };
    let mut whole = Vec::new();
    let mut bodies = Vec::new();
    for entry in [
        Entry::Event(event),
        Entry::Checkpoint(Checkpoint {
            head: chain.head(),
            time,
            signature: vec![1; 64],
        }),
        Entry::Stream {
            time,
            event: StreamEvent::Opened,
            head: chain.head(),
        },
        Entry::Closed { time },
    ] {
        let start = whole.len();
        chain.append(&entry, &mut whole)?;
        // The target makes the frame around a body whose length stands in front.
        let body = &whole[start + 4..whole.len() - 32];
        bodies.extend_from_slice(&u16::try_from(body.len() - 1)?.to_be_bytes());
        bodies.extend_from_slice(body);
    }
    seed("audit_frames", "whole", &whole)?;
    seed("audit_frames", "cut", &whole[..whole.len() - 5])?;
    seed("audit_frames", "bodies", bodies)
}

fn pkcs8_import() -> Done {
    for (name, key) in pkcs8() {
        seed("pkcs8_import", name, key)?;
    }
    let rsa = "../hsm-testkit/src/conformance/vectors/rsa_2048.pk8";
    let rsa = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(rsa))?;
    seed("pkcs8_import", "rsa-2048", rsa)?;
    seed("pkcs8_import", "octets", [0x5a; 32])
}

/// Small keys in PKCS#8, without their public halves.
fn pkcs8() -> [(&'static str, Vec<u8>); 3] {
    let ec = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\
        \x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20";
    let okp = |last| {
        [
            b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65",
            &[last][..],
            b"\x04\x22\x04\x20",
        ]
        .concat()
    };
    let with_key = |mut head: Vec<u8>| {
        head.extend_from_slice(&[0x11; 32]);
        head
    };
    [
        ("ec-p256", with_key(ec.to_vec())),
        ("ed25519", with_key(okp(0x70))),
        ("x25519", with_key(okp(0x6e))),
    ]
}

fn public_keys() -> Result<Vec<(&'static str, PublicKey)>, Box<dyn std::error::Error>> {
    let device = device();
    let types = [KeyType::EcP256, KeyType::Ed25519, KeyType::X25519];
    let mut keys = Vec::new();
    for (key_type, (name, key)) in types.into_iter().zip(pkcs8()) {
        let key = SecretBytes::from(key);
        let new = block_on(device.import(key, &spec(key_type), &binding()))?;
        keys.push((name, new.public.ok_or("a pair")?));
    }
    Ok(keys)
}

fn protector_file() -> Done {
    let whole = |body: &[u8]| {
        let mut bytes = b"hsm root".to_vec();
        bytes.extend_from_slice(body);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    };
    let wrapped = [&[0x11; 32][..], &[0x22; 40]].concat();
    let zeroized = [2];
    let key_file = [&[2, 2][..], &wrapped].concat();
    let cost = [
        &65_536u32.to_be_bytes()[..],
        &3u32.to_be_bytes(),
        &1u32.to_be_bytes(),
    ]
    .concat();
    let passphrase = [&[2, 1][..], &cost, &wrapped].concat();
    let sealer = [&[3, 7][..], b"the TPM", &[0, 6], b"sealed", &wrapped].concat();
    let both = [&passphrase[..], &sealer].concat();
    let sealed = [&[2][..], &sealer].concat();
    for (name, body) in [
        ("zeroized", &zeroized[..]),
        ("key-file", &key_file),
        ("passphrase", &passphrase),
        ("sealed", &sealed),
        ("both", &both),
    ] {
        seed("protector_file", name, whole(body))?;
        // The target adds mark and checksum to these.
        seed("protector_file", &format!("{name}-body"), body)?;
    }
    Ok(())
}

/// Each key once: with its first algorithm, from the one provider to the other, and some input.
fn providers() -> Done {
    for pair in 0..u8::try_from(KeyType::all().len())? {
        let head = [pair, 0, pair % 2, 0, 7];
        let bytes = [&head[..], b"message and what follows it"].concat();
        seed("providers", &format!("pair-{pair:02}"), bytes)?;
    }
    Ok(())
}

fn public_key() -> Done {
    for (name, key) in public_keys()? {
        seed("public_key", &format!("{name}.der"), key.to_spki_der()?)?;
        seed("public_key", &format!("{name}.pem"), key.to_pem()?)?;
        seed(
            "public_key",
            &format!("{name}.jwk"),
            serde_json::to_string(&key.to_jwk()?)?,
        )?;
    }
    Ok(())
}

fn request() -> Done {
    // Pairs of name and process, operation, and what it reads besides: see the target.
    seed(
        "request",
        "create-sign-delete",
        [0, 0, 0, 1, 0, 8, 0, 0, 3, 3, 8, 0],
    )?;
    seed("request", "rotate", [1, 0, 1, 1, 4, 1, 1, 8, 1, 4, 8, 0])?;
    seed(
        "request",
        "suspend-resume",
        [0, 0, 2, 1, 3, 2, 1, 0, 0, 8, 0, 0, 2, 2, 0, 3, 8, 0],
    )?;
    seed(
        "request",
        "delete-recover-purge",
        [2, 0, 0, 1, 5, 3, 2, 4, 5, 3, 2, 5, 5, 0, 0, 1],
    )?;
    seed(
        "request",
        "retention",
        [0, 0, 0, 1, 0, 3, 0, 7, 39, 0, 7, 39, 3, 7, 39, 0, 0, 1, 1],
    )
}

fn wire_request() -> Done {
    let version = "0123456789abcdef0123456789abcdef";
    let api = "api-version=7.6";
    let id = RoleId::from(BuiltInRole::CryptoUser);
    let role = "providers/Microsoft.Authorization";
    let seeds = [
        (
            "create",
            format!(
                "POST /keys/a/create?{api}\n{{\"kty\":\"EC-HSM\",\"crv\":\"P-384\",\"key_ops\":[\"sign\"],\"attributes\":{{\"exp\":2000000000}},\"tags\":{{\"a\":\"b\"}}}}"
            ),
        ),
        (
            "import",
            format!(
                "PUT /keys/a?{api}\n{{\"Hsm\":true,\"key\":{{\"kty\":\"oct-HSM\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"key_ops\":[\"encrypt\"]}}}}"
            ),
        ),
        (
            "update",
            format!(
                "PATCH /keys/a/{version}?{api}\n{{\"attributes\":{{\"enabled\":false}},\"hsm\":{{\"expires\":null}}}}"
            ),
        ),
        (
            "sign",
            format!("POST /keys/a/{version}/sign?{api}\n{{\"alg\":\"ES256\",\"value\":\"AAAA\"}}"),
        ),
        (
            "verify",
            format!(
                "POST /keys/a//verify?api%2Dversion=7.4\n{{\"alg\":\"HS256\",\"digest\":\"AA\",\"value\":\"AA\"}}"
            ),
        ),
        (
            "decrypt",
            format!(
                "POST /keys/a/decrypt?{api}\n{{\"alg\":\"A256GCM\",\"value\":\"AA\",\"iv\":\"AA\",\"tag\":\"AA\",\"aad\":\"AA\"}}"
            ),
        ),
        (
            "derive",
            "POST /hsm/v1/keys/a/derive\n{\"alg\":\"HKDF-SHA256\",\"salt\":\"AA\",\"length\":32}"
                .to_owned(),
        ),
        (
            "list",
            format!("GET /keys?{api}&maxresults=5&$skiptoken=a%20b\n"),
        ),
        (
            "policy",
            format!(
                "PUT /keys/a/rotationpolicy?{api}\n{{\"lifetimeActions\":[{{\"trigger\":{{\"timeAfterCreate\":\"P90D\"}},\"action\":{{\"type\":\"Rotate\"}}}}],\"attributes\":{{\"expiryTime\":\"P2Y\"}}}}"
            ),
        ),
        (
            "assign",
            format!(
                "PUT //keys/{role}/roleAssignments/{id}?{api}\n{{\"properties\":{{\"roleDefinitionId\":\"x/{id}\",\"principalId\":\"app\"}}}}"
            ),
        ),
        (
            "assignments",
            format!("GET /{role}/roleAssignments?{api}&$filter=principalId%20eq%20'app'\n"),
        ),
        (
            "user",
            "PATCH /hsm/v1/users/app\n{\"password\":\"a \\u20ac \\\" b\"}".to_owned(),
        ),
    ];
    for (name, text) in seeds {
        seed("wire_request", name, text)?;
    }
    Ok(())
}

fn wire_response() -> Done {
    let kid = "https://localhost/keys/a/0123456789abcdef0123456789abcdef";
    let seeds = [
        ("key", 0, 0, format!("{{\"key\":{{\"kid\":\"{kid}\",\"kty\":\"oct-HSM\",\"key_ops\":[\"encrypt\"]}},\"attributes\":{{\"enabled\":true,\"created\":1}}}}")),
        ("keys", 2, 0, format!("{{\"value\":[{{\"kid\":\"{kid}\",\"attributes\":{{\"enabled\":true}}}}],\"nextLink\":\"https://localhost/keys?$skiptoken=a%20b\"}}")),
        ("signature", 7, 0, format!("{{\"kid\":\"{kid}\",\"value\":\"AAAA\"}}")),
        ("ciphertext", 9, 0, format!("{{\"kid\":\"{kid}\",\"value\":\"AAAA\",\"iv\":\"AA\",\"tag\":\"AA\"}}")),
        ("secret", 10, 0, "{\"value\":\"AAAA\"}".to_owned()),
        ("error", 0, 131, "{\"error\":{\"code\":\"Forbidden\",\"message\":\"no\",\"innererror\":{\"code\":\"KeyDisabled\"}}}".to_owned()),
    ];
    for (name, route, status, body) in seeds {
        seed(
            "wire_response",
            name,
            [&[route, status], body.as_bytes()].concat(),
        )?;
    }
    Ok(())
}

fn role_json() -> Done {
    let time = Timestamp::from_unix_seconds(1_800_000_000);
    let id = RoleId::from_u128(1);
    let role = RoleDefinition::from(BuiltInRole::CryptoAuditor);
    seed("role_json", "definition", serde_json::to_string(&role)?)?;
    let scope = "/keys/payments".parse()?;
    let assignment = RoleAssignment::new(id, role.id, "app".parse()?, scope, time);
    seed(
        "role_json",
        "assignment",
        serde_json::to_string(&assignment)?,
    )?;
    let spec = spec(KeyType::EcP256).exportable();
    seed("role_json", "spec", serde_json::to_string(&spec)?)?;
    seed("role_json", "scope", "/keys/payments")?;
    seed("role_json", "id", id.to_string())?;
    seed(
        "role_json",
        "key",
        "payments/000102030405060708090a0b0c0d0e0f",
    )?;
    seed("role_json", "time", "253402207200999")?;
    seed("role_json", "action", DataAction::KeySign.name())
}

fn rotation_policy() -> Done {
    // Eight bytes of time, then the policy.
    for (name, policy) in [
        (
            "rotate",
            r#"{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P90D"},"action":{"type":"Rotate"}}],"attributes":{}}"#,
        ),
        (
            "before-expiry",
            r#"{"lifetimeActions":[{"trigger":{"timeBeforeExpiry":"P30D"},"action":{"type":"rotate"}},{"trigger":{"timeBeforeExpiry":"P1M"},"action":{"type":"Notify"}}],"attributes":{"expiryTime":"P1Y6M"}}"#,
        ),
        ("expiry", r#"{"attributes":{"expiryTime":"PT36H"}}"#),
    ] {
        let time = 1_800_000_000_000u64.to_be_bytes();
        seed("rotation_policy", name, [&time, policy.as_bytes()].concat())?;
    }
    Ok(())
}

fn sealed_key() -> Done {
    // Which key, its length (0: as it is), the binding (0: its own), what is flipped.
    seed("sealed_key", "unchanged", [0, 0, 0, 0])?;
    seed("sealed_key", "other-binding", [1, 0, 0, 9])?;
    seed("sealed_key", "cut", [2, 0, 40, 0])?;
    seed("sealed_key", "usages", [0, 0, 0, 0, 0, 0, 3, 0xff])?;
    seed("sealed_key", "exportable", [3, 0, 0, 0, 0, 0, 0, 0, 1])
}

fn store_record() -> Done {
    // Which record, what is done to it, and with what.
    seed("store_record", "flip", [0, 3, 0, 1])?;
    seed("store_record", "replace", [0, 5, 1, 1, 0, 0])?;
    seed("store_record", "remove", [0, 7, 2])?;
    seed(
        "store_record",
        "plant",
        [0, 0, 3, 1, 4, b'f', b'r', b'e', b'e', 1, 0],
    )
}

fn wrapped_import() -> Done {
    // Which type, whether exportable, then what is wrapped: header and key.
    let [(_, ec), (_, ed25519), (_, x25519)] = pkcs8();
    for (name, which, key_type, key) in [
        ("ec-p256", 0, KeyType::EcP256, ec),
        ("ed25519", 2, KeyType::Ed25519, ed25519),
        ("x25519", 3, KeyType::X25519, x25519),
        ("aes-256", 4, KeyType::Aes256, vec![0x5a; 32]),
    ] {
        let usages = spec(key_type).usages.bits().to_be_bytes();
        let head = [which, 1, 1, key_type.code(), usages[0], usages[1], 1, 0];
        seed("wrapped_import", name, [&head, &key[..]].concat())?;
    }
    Ok(())
}
