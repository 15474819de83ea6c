//! Promise: nothing of the wire prints a password, a token, a key or data, neither as it is nor encoded; and no error
//! quotes what it could not read.

use std::fmt::Debug;

use base64ct::{Base64UrlUnpadded, Encoding};
use hsm_core::{Algorithm, Principal, Request, Response, SecretBytes, SignInput, Timestamp};
use hsm_wire::server::{LoginBody, SessionBody};
use hsm_wire::{Buffers, Outgoing, Route};
use http::Method;

const SECRET: &str = "gVkPz7Jd2MhXw9Qn-secret";

fn check(value: &impl Debug) {
    let text = format!("{value:?} {value:#?}");
    let encoded = Base64UrlUnpadded::encode_string(SECRET.as_bytes());
    let numbers = SECRET
        .bytes()
        .map(|byte| byte.to_string())
        .collect::<Vec<_>>();
    for form in [SECRET, &encoded, &numbers.join(", "), &numbers.join(",\n")] {
        assert!(!text.contains(form), "{text}");
    }
}

fn secret() -> SecretBytes {
    SecretBytes::copy_from(SECRET.as_bytes())
}

#[test]
fn nothing_that_is_printed_has_a_secret() {
    let user = Principal::new("app").unwrap();
    let requests = [
        Request::CreateUser {
            name: user.clone(),
            password: secret(),
        },
        Request::ChangePassword {
            old: secret(),
            new: secret(),
        },
        Request::Sign {
            key: "a".parse().unwrap(),
            algorithm: Algorithm::EdDsa,
            input: SignInput::Message(SECRET.as_bytes()),
        },
    ];
    let mut buffers = Buffers::default();
    for request in requests {
        let outgoing = Outgoing::new(&request).unwrap();
        check(&outgoing);
        check(&outgoing.body);
        check(
            &outgoing
                .route
                .request(outgoing.body.as_bytes(), &mut buffers)
                .unwrap(),
        );
        check(&buffers);
    }
    let unwrap = Route::parse(&Method::POST, "/keys/a/unwrapkey", Some("api-version=7.6"));
    let Ok(Route::Engine(unwrap)) = unwrap else {
        panic!("not found")
    };
    let reply = unwrap.reply(Ok(Response::Secret(secret())), "https://localhost");
    check(&reply);
    check(
        &unwrap
            .response(reply.status, reply.body.as_bytes())
            .unwrap(),
    );
    check(&LoginBody {
        user: user.clone(),
        password: secret(),
    });
    check(&SessionBody {
        token: secret(),
        principal: user,
        expires: Timestamp::default(),
    });
}

#[test]
fn what_cannot_be_read_is_not_quoted() {
    let mut buffers = Buffers::default();
    let paths = [
        (Method::POST, "/keys/a/create"),
        (Method::PUT, "/keys/a"),
        (Method::PATCH, "/keys/a"),
        (Method::POST, "/keys/a/sign"),
        (Method::PUT, "/keys/a/rotationpolicy"),
        (Method::PUT, "/hsm/v1/users/app"),
        (Method::PATCH, "/hsm/v1/users/app"),
        (Method::PUT, "/hsm/v1/tokens/a"),
        (Method::POST, "/hsm/v1/password"),
        (Method::POST, "/hsm/v1/roleassignments"),
        (Method::PATCH, "/hsm/v1/partition"),
        (Method::PATCH, "/settings/PurgeProtection"),
    ];
    let members = [
        "alg",
        "value",
        "kty",
        "key",
        "key_ops",
        "attributes",
        "tags",
        "hsm",
        "crv",
        "password",
        "enabled",
        "old",
        "new",
        "lifetimeActions",
        "properties",
        "principal",
        "expires",
        "purgeProtection",
        "key_size",
    ];
    for (method, path) in paths {
        let Ok(Route::Engine(route)) = Route::parse(&method, path, Some("api-version=7.6")) else {
            panic!("{path} is not found");
        };
        for member in members {
            for value in [
                format!("\"{SECRET}\""),
                format!("[\"{SECRET}\"]"),
                format!("{{\"{SECRET}\":\"{SECRET}\"}}"),
                format!("{{\"kty\":\"{SECRET}\",\"k\":\"{SECRET}!\"}}"),
                format!("\"{SECRET}"),
            ] {
                let body = format!("{{\"{member}\":{value}}}");
                if let Err(error) = route.request(body.as_bytes(), &mut buffers) {
                    assert!(
                        !error.to_string().contains(SECRET),
                        "{path} {body}: {error}"
                    );
                    assert!(
                        !format!("{error:?}").contains(SECRET),
                        "{path} {body}: {error:?}"
                    );
                }
            }
        }
    }
    let login = format!("{{\"user\":[\"{SECRET}\"],\"password\":7}}");
    let error = LoginBody::read(login.as_bytes()).unwrap_err();
    assert!(!format!("{error:?}").contains(SECRET));
}
