//! Seeds in PKCS#8 come in as RFC 9881, RFC 9935 and the draft of X-Wing write them, and nothing that contradicts itself does.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit;
use futures_executor::block_on;
use hsm_core::{
    Algorithm, Binding, Device, ErrorKind, KeySpec, KeyType, NewKey, Result, SecretBytes, Usage,
    Usages, WrappedFormat,
};
use ml_dsa::{ExpandedSigningKey, MlDsa44, MlDsa65, MlDsa87, MlDsaParams};
use ml_kem::array::sizes::U64;
use ml_kem::{FromSeed, MlKem512, MlKem768, MlKem1024, Seed};

const SEED: u8 = 0x80;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Key type, last number of the object identifier, and length of the expanded key.
const TYPES: [(KeyType, [u8; 2], usize); 6] = [
    (KeyType::MlDsa44, [3, 17], 2560),
    (KeyType::MlDsa65, [3, 18], 4032),
    (KeyType::MlDsa87, [3, 19], 4896),
    (KeyType::MlKem512, [4, 1], 1632),
    (KeyType::MlKem768, [4, 2], 2400),
    (KeyType::MlKem1024, [4, 3], 3168),
];

#[test]
fn a_seed_comes_in_alone_or_with_what_follows_from_it() {
    for (key_type, oid, expanded_len) in TYPES {
        let seed = seed(key_type);
        let right = expanded(key_type, &seed);
        assert_eq!(right.len(), expanded_len, "{key_type}");
        let alone = tlv(SEED, &seed);
        let both = |expanded: &[u8]| {
            let parts = [tlv(OCTET_STRING, &seed), tlv(OCTET_STRING, expanded)];
            tlv(SEQUENCE, &parts.concat())
        };
        let key = import(key_type, &pkcs8(oid, &alone, None)).unwrap();
        let public = key.public.unwrap();
        let same = import(key_type, &pkcs8(oid, &both(&right), None)).unwrap();
        assert_eq!(same.public.as_ref(), Some(&public), "{key_type}");
        let raw = public.as_raw();
        import(key_type, &pkcs8(oid, &alone, Some(raw))).unwrap();

        let mut wrong = right.clone();
        wrong[expanded_len - 1] ^= 1;
        let mut other = raw.to_vec();
        other[0] ^= 1;
        let cases = [
            (
                pkcs8(oid, &both(&wrong), None),
                "expanded key does not belong",
            ),
            (
                pkcs8(oid, &both(&right[1..]), None),
                "expanded key does not belong",
            ),
            (
                pkcs8(oid, &alone, Some(&other)),
                "public key does not belong",
            ),
            (
                pkcs8(oid, &tlv(OCTET_STRING, &right), None),
                "without the seed",
            ),
            (
                pkcs8(oid, &tlv(SEED, &seed[1..]), None),
                "not exactly one private key",
            ),
            (
                pkcs8(oid, &[&alone[..], &[0]].concat(), None),
                "not exactly one private key",
            ),
            (
                pkcs8(oid, &[&both(&right)[..], &[0]].concat(), None),
                "not exactly one private key",
            ),
            (
                pkcs8([oid[0], 0x7f], &alone, None),
                "not exactly one private key",
            ),
            (pkcs8(oid, &[], None), "not exactly one private key"),
        ];
        for (pkcs8, reason) in cases {
            let error = import(key_type, &pkcs8).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{key_type}: {error}");
            assert!(error.message().contains(reason), "{key_type}: {error}");
        }
    }
}

/// draft-connolly-cfrg-xwing-kem-10: the seed as it is, in the octet string.
#[test]
fn x_wing_keys_are_seeds_and_nothing_else() {
    let seed = seed(KeyType::XWing);
    let key = import(KeyType::XWing, &x_wing_pkcs8(&seed, None)).unwrap();
    let public = key.public.unwrap();
    import(KeyType::XWing, &x_wing_pkcs8(&seed, Some(public.as_raw()))).unwrap();
    let mut other = public.as_raw().to_vec();
    other[0] ^= 1;
    let cases = [
        (
            x_wing_pkcs8(&seed, Some(&other)),
            "public key does not belong",
        ),
        (
            x_wing_pkcs8(&seed[1..], None),
            "not exactly one private key",
        ),
        (
            x_wing_pkcs8(&tlv(SEED, &seed), None),
            "not exactly one private key",
        ),
        (pkcs8([4, 2], &seed, None), "not exactly one private key"),
    ];
    for (pkcs8, reason) in cases {
        let error = import(KeyType::XWing, &pkcs8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(reason), "{error}");
    }
}

/// RFC 7748 section 6.1: the secret of such a point is zero, whoever's key it meets.
#[test]
fn x_wing_ciphertexts_of_small_order_are_refused() {
    let device = crate::options().in_memory().unwrap();
    let binding = Binding::new("test", b"post-quantum");
    let spec = KeySpec::new(KeyType::XWing, KeyType::XWing.info().usages).unwrap();
    let new = block_on(device.generate(&spec, &binding)).unwrap();
    let key = block_on(device.load(&new.sealed, &binding)).unwrap();
    let mut sent = block_on(key.encapsulate(Algorithm::XWing))
        .unwrap()
        .ciphertext;
    sent[1088..].fill(0);
    let error = block_on(key.decapsulate(Algorithm::XWing, &sent)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("small order"), "{error}");
}

/// What leaves, wrapped, is the seed as the RFCs write it.
#[test]
fn a_seed_goes_out_as_it_came_in() {
    let device = crate::options().in_memory().unwrap();
    let binding = Binding::new("test", b"post-quantum");
    let transport = Usages::of(&[Usage::Import, Usage::Export]);
    let transport = KeySpec::new(KeyType::Aes256, transport).unwrap();
    let kek = [7; 32];
    let material = SecretBytes::copy_from(&kek);
    let sealed = block_on(device.import(material, &transport, &binding)).unwrap();
    let transport = block_on(device.load(&sealed.sealed, &binding)).unwrap();
    let nist = TYPES.map(|(key_type, oid, _)| {
        let pkcs8 = pkcs8(oid, &tlv(SEED, &seed(key_type)), None);
        (key_type, pkcs8)
    });
    let x_wing = (KeyType::XWing, x_wing_pkcs8(&seed(KeyType::XWing), None));
    for (key_type, expected) in nist.into_iter().chain([x_wing]) {
        let spec = KeySpec::new(key_type, key_type.info().usages).unwrap();
        let spec = spec.exportable();
        let material = SecretBytes::copy_from(&expected);
        let new = block_on(device.import(material, &spec, &binding)).unwrap();
        let algorithm = Algorithm::A256Kwp;
        let blob = block_on(transport.export(algorithm, &new.sealed, &binding)).unwrap();
        let mut plain = vec![0; blob.len()];
        let plain = KwpAes256::new(&kek.into())
            .unwrap_key(&blob, &mut plain)
            .unwrap();
        assert_eq!(plain[6..], expected, "{key_type}");
        let bare = block_on(transport.import(
            algorithm,
            &wrap(&kek, &expected),
            WrappedFormat::Bare,
            &KeySpec::new(key_type, key_type.info().usages).unwrap(),
            &binding,
        ));
        assert_eq!(bare.unwrap().public, new.public, "{key_type}");
    }
}

fn wrap(kek: &[u8; 32], plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plain.len() + 16];
    KwpAes256::new(kek.into())
        .wrap_key(plain, &mut out)
        .unwrap()
        .to_vec()
}

fn import(key_type: KeyType, pkcs8: &[u8]) -> Result<NewKey> {
    let device = crate::options().in_memory().unwrap();
    let spec = KeySpec::new(key_type, key_type.info().usages).unwrap();
    let binding = Binding::new("test", b"post-quantum");
    block_on(device.import(SecretBytes::copy_from(pkcs8), &spec, &binding))
}

fn expanded(key_type: KeyType, seed: &[u8]) -> Vec<u8> {
    match key_type {
        KeyType::MlDsa44 => ml_dsa::<MlDsa44>(seed),
        KeyType::MlDsa65 => ml_dsa::<MlDsa65>(seed),
        KeyType::MlDsa87 => ml_dsa::<MlDsa87>(seed),
        KeyType::MlKem512 => ml_kem::<MlKem512>(seed),
        KeyType::MlKem768 => ml_kem::<MlKem768>(seed),
        _ => ml_kem::<MlKem1024>(seed),
    }
}

#[expect(deprecated, reason = "the expanded form is what is tested")]
fn ml_dsa<P: MlDsaParams>(seed: &[u8]) -> Vec<u8> {
    let key = ExpandedSigningKey::<P>::from_seed(seed.try_into().unwrap());
    key.to_expanded().to_vec()
}

#[expect(deprecated, reason = "the expanded form is what is tested")]
fn ml_kem<P>(seed: &[u8]) -> Vec<u8>
where
    P: FromSeed<SeedSize = U64>,
    P::DecapsulationKey: ml_kem::ExpandedKeyEncoding,
{
    use ml_kem::ExpandedKeyEncoding;

    let (key, _) = P::from_seed(&Seed::try_from(seed).unwrap());
    key.to_expanded_bytes().to_vec()
}

/// `PrivateKeyInfo` (RFC 5958): version 1 if there is no public key, 2 otherwise.
fn pkcs8(oid: [u8; 2], choice: &[u8], public: Option<&[u8]>) -> Vec<u8> {
    let nist = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04];
    pkcs8_of(&[&nist[..], &oid].concat(), choice, public)
}

fn x_wing_pkcs8(seed: &[u8], public: Option<&[u8]>) -> Vec<u8> {
    let oid = [
        0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xe6, 0x2d, 0x81, 0xc8, 0x7a,
    ];
    pkcs8_of(&oid, seed, public)
}

fn pkcs8_of(oid: &[u8], private: &[u8], public: Option<&[u8]>) -> Vec<u8> {
    let mut parts = vec![
        tlv(0x02, &[u8::from(public.is_some())]),
        tlv(SEQUENCE, &tlv(0x06, oid)),
        tlv(OCTET_STRING, private),
    ];
    if let Some(public) = public {
        parts.push(tlv(0x81, &[&[0], public].concat()));
    }
    tlv(SEQUENCE, &parts.concat())
}

/// Tag, length and value in DER.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let [.., high, low] = value.len().to_be_bytes();
    let head = match value.len() {
        0..128 => vec![tag, low],
        128..256 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], value].concat()
}

/// The seeds of the RFCs: 0, 1, 2, ….
fn seed(key_type: KeyType) -> Vec<u8> {
    (0..).take(key_type.byte_len()).collect()
}
