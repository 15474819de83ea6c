//! A rotation policy reads back as it was written, and its arithmetic holds at any time.
#![no_main]

use hsm_core::Timestamp;
use hsm_core::policy::RotationPolicy;
use hsm_fuzz::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = Bytes(data);
    let time = data
        .take(8)
        .iter()
        .fold(0, |time, byte| time << 8 | u64::from(*byte));
    let Ok(policy) = serde_json::from_slice::<RotationPolicy>(data.0) else {
        return;
    };

    let text = serde_json::to_string(&policy).expect("it can be written");
    let again: RotationPolicy = serde_json::from_str(&text).expect("it was written so");
    assert_eq!(again, policy);

    let created = Timestamp::from_unix_millis(time);
    let expires = policy.expiry(created);
    if created <= Timestamp::MAX {
        assert!(expires.is_none_or(|expires| expires >= created));
    }
    assert!(
        policy
            .next_rotation(created, expires)
            .is_none_or(|due| due >= created)
    );
    assert_eq!(expires.is_some(), policy.lifetime().is_some());
});
