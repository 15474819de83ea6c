//! What a [`Validation`] asks of the claims of a token (RFC 7519 section 4.1), at a time that is given.

use hsm_core::{Error, ErrorKind, Result, Timestamp};
use jsonwebtoken::Validation;
use serde_json::{Map, Value};

use super::invalid;

/// Checks the claims of a token whose signature is right.
///
/// As `jsonwebtoken` does, and stricter in two things: a claim that `validation` has an expectation of must be there, and a
/// token ends at its `exp`, not a second after it (RFC 7519 section 4.1.4).
pub(super) fn check(
    claims: &Map<String, Value>,
    validation: &Validation,
    now: Timestamp,
) -> Result<()> {
    let now = now.unix_seconds();
    for name in &validation.required_spec_claims {
        if REGISTERED.contains(&name.as_str()) {
            require(claims, name)?;
        }
    }
    let leeway = validation.leeway;
    if validation.validate_exp
        && let Some(exp) = time(claims, "exp")?
    {
        let latest = now.saturating_add(validation.reject_tokens_expiring_in_less_than);
        if exp.saturating_add(leeway) <= latest {
            return Err(refused(format!(
                "the token has expired: its `exp` is {}",
                Timestamp::from_unix_seconds(exp)
            )));
        }
    }
    if validation.validate_nbf
        && let Some(nbf) = time(claims, "nbf")?
        && nbf > now.saturating_add(leeway)
    {
        return Err(refused(format!(
            "the token is not valid yet: its `nbf` is {}",
            Timestamp::from_unix_seconds(nbf)
        )));
    }
    if let Some(subject) = &validation.sub
        && require(claims, "sub")?.as_str() != Some(subject.as_str())
    {
        return Err(refused("the token is about somebody else (`sub`)"));
    }
    if let Some(issuers) = &validation.iss {
        let found = texts("iss", require(claims, "iss")?)?;
        if !found.iter().any(|issuer| issuers.contains(*issuer)) {
            return Err(refused("the token is of another issuer (`iss`)"));
        }
    }
    if validation.validate_aud {
        match (&validation.aud, claims.get("aud")) {
            (None, None | Some(Value::Null)) => {}
            (None, Some(_)) => {
                return Err(refused(
                    "the token has an audience (`aud`): say in the validation who you are",
                ));
            }
            (Some(audience), _) => {
                let found = texts("aud", require(claims, "aud")?)?;
                if !found.iter().any(|name| audience.contains(*name)) {
                    return Err(refused("the token is for somebody else (`aud`)"));
                }
            }
        }
    }
    Ok(())
}

fn require<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<&'c Value> {
    match claims.get(name) {
        None | Some(Value::Null) => Err(refused(format!("the token lacks the claim `{name}`"))),
        Some(value) => {
            match name {
                "exp" | "nbf" => time(claims, name).map(drop)?,
                _ => drop(texts(name, value)?),
            }
            Ok(value)
        }
    }
}

/// A `NumericDate`, in whole seconds; fractions are cut off.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>> {
    let number = match claims.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "cut to the range of u64, which is meant"
    )]
    let fraction = || {
        let seconds = number.as_f64()?;
        (seconds >= 0.0).then_some(seconds as u64)
    };
    match number.as_u64().or_else(fraction) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(invalid(format!(
            "the token's claim `{name}` is no time: seconds since 1970"
        ))),
    }
}

/// One text, or a list of texts.
fn texts<'c>(name: &str, value: &'c Value) -> Result<Vec<&'c str>> {
    let texts = match value {
        Value::String(text) => Some(vec![text.as_str()]),
        Value::Array(values) => values.iter().map(Value::as_str).collect(),
        _ => None,
    };
    texts.ok_or_else(|| {
        invalid(format!(
            "the token's claim `{name}` is neither a text nor a list of texts"
        ))
    })
}

fn refused(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

/// The claims that a validation may require.
const REGISTERED: [&str; 5] = ["exp", "nbf", "aud", "iss", "sub"];

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::SystemClock;
    use hsm_core::Clock;

    const NOW: u64 = 1_800_000_000;

    fn outcome(claims: Value, validation: &Validation) -> Result<()> {
        let Value::Object(claims) = claims else {
            unreachable!("tests have objects")
        };
        check(&claims, validation, Timestamp::from_unix_seconds(NOW))
    }

    #[test]
    fn a_token_ends_at_its_expiry_with_the_leeway_and_no_later() {
        let mut validation = Validation::new(Algorithm::ES256);
        for (leeway, exp, right) in [
            (0, NOW, false),
            (0, NOW + 1, true),
            (60, NOW - 60, false),
            (60, NOW - 59, true),
            (u64::MAX, 0, true),
        ] {
            validation.leeway = leeway;
            let result = outcome(json!({ "exp": exp }), &validation);
            assert_eq!(result.is_ok(), right, "{leeway} {exp}");
        }
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 100;
        assert!(outcome(json!({ "exp": NOW + 100 }), &validation).is_err());
        assert!(outcome(json!({ "exp": NOW + 101 }), &validation).is_ok());
        assert!(outcome(json!({ "exp": 1 }), &validation).is_err());
    }

    #[test]
    fn what_is_expected_must_be_there() {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.sub = Some("alice".to_owned());
        validation.set_issuer(&["https://issuer.example"]);
        validation.set_audience(&["shop"]);
        let right = json!({ "exp": NOW + 9, "sub": "alice", "iss": "https://issuer.example", "aud": ["shop", "x"] });
        outcome(right.clone(), &validation).unwrap();
        for name in ["exp", "sub", "iss", "aud"] {
            for value in [
                None,
                Some(json!(null)),
                Some(json!("other")),
                Some(json!({})),
            ] {
                let mut claims = right.clone();
                let map = claims.as_object_mut().unwrap();
                match value.clone() {
                    None => drop(map.remove(name)),
                    Some(value) => drop(map.insert(name.to_owned(), value)),
                }
                let error = outcome(claims, &validation).unwrap_err();
                assert!(
                    error.to_string().contains(&format!("`{name}`")),
                    "{name} {value:?}: {error}"
                );
            }
        }
    }

    proptest! {
        /// What `jsonwebtoken` refuses is refused here; what it takes is taken, but for what is stricter by design.
        #[test]
        fn agrees_with_jsonwebtoken(
            exp in prop::option::of(prop_oneof![Just(json!("soon")), Just(json!(1e9)), (-5000i64..5000).prop_map(|by| json!(by))]),
            nbf in prop::option::of(-5000i64..5000),
            aud in prop::option::of(prop_oneof![Just(json!("a")), Just(json!(["b", "a"])), Just(json!([])), Just(json!(7))]),
            iss in prop::option::of(prop_oneof![Just(json!("a")), Just(json!("b"))]),
            wants in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        ) {
            let now = SystemClock.now().unix_seconds();
            // Far enough from the border for a machine that is busy.
            let at = |by: i64| now.saturating_add_signed(if by < 0 { by - 1000 } else { by + 1000 });
            let mut claims = Map::new();
            if let Some(exp) = exp {
                claims.insert("exp".into(), exp.as_i64().map_or(exp, |by| json!(at(by))));
            }
            if let Some(nbf) = nbf {
                claims.insert("nbf".into(), json!(at(nbf)));
            }
            claims.extend(aud.map(|aud| ("aud".to_owned(), aud)));
            claims.extend(iss.map(|iss| ("iss".to_owned(), iss)));
            let mut validation = Validation::new(Algorithm::HS256);
            validation.validate_nbf = wants.0;
            if wants.1 {
                validation.set_audience(&["a"]);
            }
            if wants.2 {
                validation.set_issuer(&["a"]);
            }
            if wants.3 {
                validation.required_spec_claims.clear();
            }
            let token = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(b"k")).unwrap();
            let theirs = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(b"k"), &validation).is_ok();
            let ours = check(&claims, &validation, Timestamp::from_unix_seconds(now)).is_ok();
            prop_assert!(theirs || !ours, "{claims:?} {validation:?}");
            let absent = (wants.1 && !claims.contains_key("aud")) || (wants.2 && !claims.contains_key("iss"));
            let malformed = claims.get("aud").is_some_and(Value::is_number);
            prop_assert!(ours || !theirs || absent || malformed, "{claims:?} {validation:?}");
        }
    }
}
