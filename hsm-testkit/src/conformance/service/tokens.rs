//! API tokens: whom they log in, and until when.

use std::time::Duration;

use hsm_core::limits::TOKEN_LIFETIME_MAX;
use hsm_core::policy::BuiltInRole;
use hsm_core::{Clock, Credentials, Error, ErrorKind, Timestamp, TokenInfo, UserUpdate};

use super::super::{fails, ok};
use super::*;

const OUT: &[ErrorKind] = &[ErrorKind::Unauthenticated];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A token logs its principal in, who need not be a user, with the roles that the principal has. Lists show that there is
/// one, and never the token.
pub async fn tokens_log_in_their_principal(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let role = BuiltInRole::CryptoUser.id();
    opened.all.assign(role, "server", Scope::Global).await;
    let (token, info) = opened.token("nightly", "server", DAY).await;
    let server = ok(opened.show(&token).await, "a token logs in");
    assert_eq!(server.0.principal(), &principal("server"));
    ok(server.random(8).await, "the principal's role counts");
    let tokens = server.call(Request::ListTokens {
        page: PageRequest::default(),
    });
    let clause = "a token gives no more than its principal has";
    fails(tokens.await, &[ErrorKind::Denied], clause);
    let again = opened.try_token("nightly", "server", info.expires).await;
    let clause = "the name of a token is taken once";
    fails(again, &[ErrorKind::Conflict], clause);
    let (_, second) = opened.token("noon", "server", DAY).await;
    assert_eq!(
        opened.tokens(None, None).await,
        ([info.clone(), second.clone()].into(), None)
    );
    let (first_page, next) = opened.tokens(None, Some(1)).await;
    assert_eq!(first_page, [info]);
    assert_eq!(opened.tokens(next, Some(1)).await, ([second].into(), None));
}

/// A token that expires or is deleted takes its sessions with it. Another one of its name does not bring them back.
pub async fn tokens_end_with_their_sessions(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let role = BuiltInRole::CryptoUser.id();
    opened.all.assign(role, "server", Scope::Global).await;
    let (token, _) = opened.token("nightly", "server", DAY).await;
    let server = ok(opened.show(&token).await, "a token logs in");
    ok(server.random(8).await, "an open session");
    let delete = || {
        let name = token_name("nightly");
        opened.all.call(Request::DeleteToken { name })
    };
    ok(delete().await, "delete a token");
    fails(server.random(8).await, OUT, "a deleted token ends sessions");
    let shown = opened.show(&token).await.map(drop);
    fails(shown, OUT, "a deleted token does not log in");
    fails(
        delete().await,
        &[ErrorKind::NotFound],
        "a token is deleted once",
    );
    let (token, info) = opened.token("nightly", "server", DAY).await;
    fails(server.random(8).await, OUT, "a session does not come back");
    let Some(clock) = opened.clock() else {
        return;
    };
    clock.advance(DAY - Duration::from_secs(60));
    let server = ok(opened.show(&token).await, "a token at the end of its life");
    ok(server.random(8).await, "before the end");
    clock.advance(Duration::from_secs(60));
    fails(
        server.random(8).await,
        OUT,
        "an expired token ends sessions",
    );
    let shown = opened.show(&token).await.map(drop);
    fails(shown, OUT, "an expired token does not log in");
    let opened = opened.again().await;
    assert_eq!(
        opened.tokens(None, None).await.0,
        [info],
        "it stays in the list"
    );
}

/// A user who is disabled does not get in by a token either; one who is deleted takes the tokens along.
pub async fn tokens_are_as_good_as_their_user(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened.user("app").await;
    let role = BuiltInRole::CryptoUser.id();
    opened.all.assign(role, "app", Scope::Global).await;
    let (token, _) = opened.token("apps", "app", DAY).await;
    let (other, info) = opened.token("other", "server", DAY).await;
    let app = ok(opened.show(&token).await, "a token logs in");
    ok(app.random(8).await, "an open session");
    let update = |update| {
        let name = principal("app");
        opened.all.call(Request::UpdateUser { name, update })
    };
    ok(update(UserUpdate::Disable).await, "disable the user");
    fails(app.random(8).await, OUT, "the session has ended");
    let shown = opened.show(&token).await.map(drop);
    fails(shown, OUT, "the token of a disabled user");
    ok(update(UserUpdate::Enable).await, "enable the user");
    fails(app.random(8).await, OUT, "a session does not come back");
    ok(opened.show(&token).await, "the token of an enabled user");
    let name = principal("app");
    let deleted = opened.all.call(Request::DeleteUser { name }).await;
    ok(deleted, "delete the user");
    let shown = opened.show(&token).await.map(drop);
    fails(shown, OUT, "the token of a deleted user");
    opened.user("app").await;
    let shown = opened.show(&token).await.map(drop);
    fails(shown, OUT, "a later user of the name has tokens of its own");
    assert_eq!(opened.tokens(None, None).await.0, [info], "others stay");
    ok(opened.show(&other).await, "others log in");
}

/// Whatever is wrong with a token, the answer is the same. A token of another service is none of this one.
pub async fn wrong_tokens_look_alike(make: impl AsyncFn() -> ServiceUnderTest) {
    let (opened, other) = (
        Opened::new(make().await).await,
        Opened::new(make().await).await,
    );
    let (token, _) = opened.token("nightly", "server", DAY).await;
    let (foreign, _) = other.token("nightly", "server", DAY).await;
    let mut refusals = Vec::new();
    let mut wrong_secret = token.clone();
    let last = wrong_secret.len() - 2;
    wrong_secret[last] = if wrong_secret[last] == b'A' {
        b'B'
    } else {
        b'A'
    };
    let half = token.len() / 2;
    let longer = [&token[..], b"A"].concat();
    for wrong in [&wrong_secret[..], &foreign, &token[..half], &longer] {
        match opened.show(wrong).await {
            Ok(_) => panic!("a wrong token logs in"),
            Err(error) => refusals.push((error.kind(), error.to_string())),
        }
    }
    // These may not even fit into a header.
    for wrong in [&b""[..], b"\xff"] {
        fails(opened.show(wrong).await.map(drop), OUT, "no token at all");
    }
    assert_eq!(refusals[0].0, ErrorKind::Unauthenticated);
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "each refusal says the same");
    ok(opened.show(&token).await, "the right one");
}

/// A token has an end, which lies ahead, but not too far.
pub async fn tokens_live_within_their_limits(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let now = opened.now().await;
    let made = async |expires| {
        opened
            .try_token("nightly", "server", expires)
            .await
            .map(drop)
    };
    let clause = "a token that has expired is not made";
    fails(made(now).await, &[ErrorKind::InvalidInput], clause);
    let too_late = now + TOKEN_LIFETIME_MAX + DAY;
    let clause = "no token lives longer than the limit";
    fails(made(too_late).await, &[ErrorKind::LimitExceeded], clause);
    ok(made(now + TOKEN_LIFETIME_MAX).await, "a token at the limit");
}

impl Opened {
    /// The time, as the service tells it with a user who was created a moment ago.
    async fn now(&self) -> Timestamp {
        if let Some(clock) = &self.clock {
            return clock.now();
        }
        let witness = Request::CreateUser {
            name: principal("witness"),
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
        };
        if let Err(error) = self.all.call(witness).await {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
        let page = PageRequest::default();
        let users = self.all.call(Request::ListUsers { page }).await;
        match ok(users, "the users") {
            Response::Users(users) => {
                let created = users.items.iter().map(|user| user.created);
                created.max().unwrap_or_default()
            }
            other => unexpected("users", &other),
        }
    }

    async fn try_token(
        &self,
        name: &str,
        to: &str,
        expires: Timestamp,
    ) -> Result<(Vec<u8>, TokenInfo)> {
        let request = Request::CreateToken {
            name: token_name(name),
            principal: principal(to),
            expires,
        };
        match self.all.call(request).await? {
            Response::Token { token, info } => Ok((token.expose().to_vec(), info)),
            other => unexpected("a token", &other),
        }
    }

    /// A token that lives so long from now.
    async fn token(&self, name: &str, to: &str, life: Duration) -> (Vec<u8>, TokenInfo) {
        let now = self.now().await;
        let made = self.try_token(name, to, now + life).await;
        let (token, info) = ok(made, "an administrator makes tokens");
        assert_eq!(info.name, token_name(name));
        assert_eq!(info.principal, principal(to));
        assert_eq!(info.expires, now + life);
        (token, info)
    }

    async fn show(&self, token: &[u8]) -> Result<Caller, Error> {
        let session = self.service.login(Credentials::token(token)).await?;
        Ok(Caller(session, self.all.1.clone()))
    }

    async fn tokens(
        &self,
        after: Option<String>,
        limit: Option<usize>,
    ) -> (Vec<TokenInfo>, Option<String>) {
        let page = PageRequest { after, limit };
        match ok(
            self.all.call(Request::ListTokens { page }).await,
            "the tokens",
        ) {
            Response::Tokens(tokens) => (tokens.items, tokens.next),
            other => unexpected("tokens", &other),
        }
    }

    /// The administrator logs in again, after time has ended the session.
    async fn again(self) -> Self {
        let all = self.login(ADMINISTRATOR, PASSWORD).await;
        let all = ok(all, "the administrator logs in again");
        Self { all, ..self }
    }
}

fn token_name(text: &str) -> hsm_core::TokenName {
    ok(text.parse(), "the name of a test token")
}
