//! Roles, assignments and names read back as they were written.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use hsm_core::audit::StreamId;
use hsm_core::key::{KeyName, VersionId};
use hsm_core::policy::{DataAction, RoleAssignment, RoleDefinition, RoleId, Scope};
use hsm_core::{Algorithm, KeyRef, KeySpec, KeyType, Principal, Tags, Timestamp, Usage};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    json::<KeySpec>(text);
    json::<RoleAssignment>(text);
    json::<RoleDefinition>(text);
    json::<Scope>(text);
    json::<Tags>(text);
    // Any number of milliseconds prints.
    if let Ok(time) = serde_json::from_str::<Timestamp>(text) {
        assert!(!time.to_string().is_empty());
    }
    spelling::<Algorithm>(text);
    spelling::<DataAction>(text);
    spelling::<KeyName>(text);
    spelling::<KeyRef>(text);
    spelling::<KeyType>(text);
    spelling::<Principal>(text);
    spelling::<Scope>(text);
    spelling::<VersionId>(text);
    drop(text.parse::<Usage>());
    // These are read in either case.
    if let Ok(id) = text.parse::<RoleId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(id) = text.parse::<StreamId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
});

fn json<T: Debug + DeserializeOwned + PartialEq + Serialize>(text: &str) {
    if let Ok(value) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&value).expect("it can be written");
        assert_eq!(
            serde_json::from_str::<T>(&written).expect("it was written so"),
            value
        );
    }
}

/// What is read has one spelling.
fn spelling<T: Display + FromStr>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}
