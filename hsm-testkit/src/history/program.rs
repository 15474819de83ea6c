//! A history as a program that repeats it.

use std::fmt::Write as _;
use std::time::Duration;

use hsm_core::lifecycle::Event;
use hsm_core::{ErrorKind, Timestamp, Usages};

use super::request::{AAD, DERIVED_LEN, FIRST_ASSIGNMENT, LABEL, Made, PEER, Ready};
use super::step::{Act, Change, How, Kind, Life, Policy, Use, Which, assignment, custom};

/// The lines of a program.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    body: String,
    calls: u32,
    logins: u32,
}

impl Program {
    pub(super) fn login(&mut self, user: &str, password: &str, refused: Option<ErrorKind>) {
        self.logins += 1;
        let call = format!(
            "subject.service().login(Credentials::password({user:?}, {password:?})?).await"
        );
        match refused {
            None => self.line(format_args!("let {user} = {call}?;")),
            Some(kind) => self.line(format_args!(
                "assert_eq!({call}.err().map(|error| error.kind()), Some(ErrorKind::{kind:?}));"
            )),
        }
    }

    /// How often somebody has logged in, or tried to.
    pub(super) fn logins(&self) -> u32 {
        self.logins
    }

    pub(super) fn ask(&mut self, user: &str, asked: &Ready, answer: &str) {
        self.calls += 1;
        let (id, request) = (self.calls, source(asked));
        self.line(format_args!(
            "let answer = {user}.call(RequestId::from_u128({id}), {request}).await;"
        ));
        self.line(format_args!("assert_eq!(seen.write(&answer), {answer:?});"));
    }

    pub(super) fn show_token(&mut self, token: &str, answer: &str) {
        self.calls += 1;
        let id = self.calls;
        self.line(format_args!(
            "let answer = match subject.service().login(Credentials::token(seen.token({token:?})?)).await {{"
        ));
        self.line(format_args!(
            "    Ok(session) => session.call(RequestId::from_u128({id}), Request::GetSettings).await,"
        ));
        self.line(format_args!("    Err(error) => Err(error),"));
        self.line(format_args!("}};"));
        self.line(format_args!("assert_eq!(seen.write(&answer), {answer:?});"));
    }

    pub(super) fn drop(&mut self, user: &str) {
        self.line(format_args!("drop({user});"));
    }

    pub(super) fn logout(&mut self, user: &str) {
        self.line(format_args!("{user}.logout().await;"));
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.line(format_args!(
            "clock.advance(Duration::from_secs({}));",
            by.as_secs()
        ));
    }

    pub(super) fn go_back(&mut self, by: Duration) {
        self.line(format_args!(
            "clock.go_back(Duration::from_secs({}));",
            by.as_secs()
        ));
    }

    pub(super) fn set_clock(&mut self, time: Timestamp) {
        self.line(format_args!("clock.set({});", time_source(time)));
    }

    pub(super) fn maintain(&mut self) {
        self.line(format_args!("assert!(subject.maintain().await?);"));
    }

    pub(super) fn restart(&mut self) {
        self.line(format_args!("assert!(subject.restart().await?);"));
    }

    pub(super) fn remark(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format_args!("// {line}"));
        }
    }

    /// The whole program. It panics where the service did not answer as the model.
    pub(super) fn finish(&self) -> String {
        format!("{HEAD}{}    Ok(())\n}}\n", self.body)
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "    {line}");
    }
}

const HEAD: &str = "use hsm_testkit::history::prelude::*;

/// `subject` is a new service whose only user is `administrator`, and `clock` the clock that it goes by.
async fn repeat(subject: &mut impl Subject, clock: &ManualClock) -> Result<()> {
    let (administrator, mut seen) = begin(subject).await?;
";

/// The request of an act.
fn source(asked: &Ready) -> String {
    let named =
        |request: &str, key: &str| format!("Request::{request} {{ name: {key:?}.parse()? }}");
    match &asked.act {
        Act::Create { key, kind, life } => format!(
            "Request::CreateKey {{ name: {key:?}.parse()?, new: {} }}",
            new_key(asked, *kind, life)
        ),
        Act::Import {
            key,
            kind,
            life,
            material,
        } => {
            let bytes = material.bytes();
            format!(
                "Request::ImportKey {{ name: {key:?}.parse()?, new: {}, material: SecretBytes::copy_from(&[{}; {}]) }}",
                new_key(asked, *kind, life),
                bytes[0],
                bytes.len()
            )
        }
        Act::Export { key, wrapping } => format!(
            "Request::ExportKey {{ key: {}, wrapping: {}, algorithm: {} }}",
            key_ref(key),
            key_ref(wrapping),
            algorithm(Use::Wrap)
        ),
        Act::ImportWrapped {
            key,
            kind,
            life,
            wrapping,
            product,
        } => format!(
            "Request::ImportWrappedKey {{ name: {key:?}.parse()?, new: {}, wrapping: {}, algorithm: {}, wrapped: &seen.bytes({product})?, format: WrappedFormat::Bound }}",
            new_key(asked, *kind, life),
            key_ref(wrapping),
            algorithm(Use::Wrap)
        ),
        Act::Get { key } => format!("Request::GetKey {{ key: {} }}", key_ref(key)),
        Act::List { deleted, page } => {
            let what = if *deleted {
                "ListDeletedKeys"
            } else {
                "ListKeys"
            };
            let after = page.after.map(|after| format!("{after:?}.to_owned()"));
            format!("Request::{what} {{ page: {} }}", paging(after, page.limit))
        }
        Act::ListVersions { key, after, limit } => {
            let after = after.map(|number| format!("seen.version({key:?}, {number})?.to_string()"));
            format!(
                "Request::ListVersions {{ name: {key:?}.parse()?, page: {} }}",
                paging(after, *limit)
            )
        }
        Act::GetDeleted { key } => named("GetDeletedKey", key),
        Act::Update { key, change } => format!(
            "Request::UpdateKey {{ key: {}, update: {} }}",
            key_ref(key),
            update(asked, change)
        ),
        Act::Rotate { key } => named("RotateKey", key),
        Act::GetPolicy { key } => named("GetRotationPolicy", key),
        Act::SetPolicy { key, policy } => format!(
            "Request::SetRotationPolicy {{ name: {key:?}.parse()?, policy: {} }}",
            option(policy.map(rotation))
        ),
        Act::Delete { key } => named("DeleteKey", key),
        Act::Recover { key } => named("RecoverKey", key),
        Act::Purge { key } => named("PurgeKey", key),
        Act::Backup { key } => named("BackupKey", key),
        Act::Restore { backup, edited } => {
            let shown = match edited {
                false => format!("&seen.backup({backup})?"),
                true => format!("&edited(seen.backup({backup})?)"),
            };
            format!("Request::RestoreKey {{ backup: {shown} }}")
        }
        Act::Use {
            key,
            operation,
            text,
        } => operate(key, *operation, text),
        Act::Check {
            product,
            key,
            edited,
        } => match &asked.made {
            Some(made) => check(&key.unwrap_or(made.key), made, *product, *edited),
            None => String::new(),
        },
        Act::PutRole { id, name, actions } => {
            let actions = actions
                .list()
                .iter()
                .map(|action| format!("DataAction::{action:?}"));
            let actions = actions.collect::<Vec<_>>().join(", ");
            let id = role_id(custom(*id));
            format!(
                "Request::PutRoleDefinition {{ definition: RoleDefinition::new({id}, {name:?}, \"\", ActionSet::of(&[{actions}]))? }}"
            )
        }
        Act::DeleteRole { role } => {
            format!(
                "Request::DeleteRoleDefinition {{ id: {} }}",
                role_id(role.id())
            )
        }
        Act::ListRoles => "Request::ListRoleDefinitions".to_owned(),
        Act::Assign { id, role, user, at } => {
            let (id, role) = (role_id(assignment(*id)), role_id(role.id()));
            format!(
                "Request::CreateRoleAssignment {{ id: Some({id}), role: {role}, principal: {user:?}.parse()?, scope: {} }}",
                place(*at)
            )
        }
        Act::Unassign { id } => {
            let id = match id {
                Some(id) => role_id(assignment(*id)),
                None => format!("seen.assignment({FIRST_ASSIGNMENT})?"),
            };
            format!("Request::DeleteRoleAssignment {{ id: {id} }}")
        }
        Act::ListAssignments { at } => format!(
            "Request::ListRoleAssignments {{ scope: {} }}",
            option(at.map(place))
        ),
        Act::CreateUser { user, password } => format!(
            "Request::CreateUser {{ name: {user:?}.parse()?, password: {} }}",
            secret(password)
        ),
        Act::UpdateUser { user, how } => {
            let update = match how {
                How::Password(password) => format!("Password({})", secret(password)),
                other => format!("{other:?}"),
            };
            format!(
                "Request::UpdateUser {{ name: {user:?}.parse()?, update: UserUpdate::{update} }}"
            )
        }
        Act::DeleteUser { user } => named("DeleteUser", user),
        Act::ChangePassword { new, .. } => format!(
            "Request::ChangePassword {{ old: {}, new: {} }}",
            secret(&asked.password),
            secret(new)
        ),
        Act::CreateToken {
            token,
            user,
            expires,
        } => format!(
            "Request::CreateToken {{ name: {token:?}.parse()?, principal: {user:?}.parse()?, expires: {} }}",
            time_source(asked.time(*expires))
        ),
        Act::ListTokens => "Request::ListTokens { page: PageRequest::default() }".to_owned(),
        Act::DeleteToken { token } => named("DeleteToken", token),
        Act::ListUsers => "Request::ListUsers { page: PageRequest::default() }".to_owned(),
        Act::GetSettings => "Request::GetSettings".to_owned(),
        Act::Set {
            retention_days,
            purge_protection,
        } => format!(
            "Request::UpdateSettings {{ update: SettingsUpdate {{ retention_days: {retention_days:?}, purge_protection: {purge_protection:?}, danger_rsa1_5_decrypt: None }} }}"
        ),
    }
}

fn operate(key: &Which, operation: Use, text: &str) -> String {
    let head = format!("key: {}, algorithm: {}", key_ref(key), algorithm(operation));
    let text = format!("b{text:?}");
    match operation {
        Use::Natural | Use::Sign => {
            format!("Request::Sign {{ {head}, input: SignInput::Message({text}) }}")
        }
        Use::Mac => format!("Request::Mac {{ {head}, message: {text} }}"),
        Use::Encrypt => {
            let aad = bytes(AAD);
            format!("Request::Encrypt {{ {head}, plaintext: {text}, iv: None, aad: {aad} }}")
        }
        Use::Wrap => format!("Request::Wrap {{ {head}, plaintext: {text} }}"),
        Use::Derive => {
            let label = bytes(LABEL);
            format!(
                "Request::Derive {{ {head}, salt_or_label: {text}, info_or_context: {label}, len: {DERIVED_LEN} }}"
            )
        }
        Use::Agree => format!(
            "Request::Agree {{ {head}, peer: &PublicKey::from_raw(KeyType::X25519, {PEER:?})? }}"
        ),
        Use::Encapsulate => format!("Request::Encapsulate {{ {head} }}"),
    }
}

fn check(key: &Which, made: &Made, product: usize, edited: bool) -> String {
    let head = format!("key: {}, algorithm: {}", key_ref(key), algorithm(made.by));
    let text = format!("b{:?}", made.text);
    let shown = match edited {
        false => format!("&seen.bytes({product})?"),
        true => format!("&edited(seen.bytes({product})?)"),
    };
    match made.by {
        Use::Mac => format!("Request::VerifyMac {{ {head}, message: {text}, tag: {shown} }}"),
        Use::Encrypt => {
            let aad = bytes(AAD);
            let whole = match edited {
                false => format!("seen.ciphertext({product})?.as_ref()"),
                true => format!(
                    "CiphertextRef {{ ciphertext: &edited(seen.ciphertext({product})?.ciphertext), ..seen.ciphertext({product})?.as_ref() }}"
                ),
            };
            format!("Request::Decrypt {{ {head}, ciphertext: {whole}, aad: {aad} }}")
        }
        Use::Wrap => format!("Request::Unwrap {{ {head}, wrapped: {shown} }}"),
        Use::Encapsulate => format!("Request::Decapsulate {{ {head}, ciphertext: {shown} }}"),
        _ => format!(
            "Request::Verify {{ {head}, input: SignInput::Message({text}), signature: {shown} }}"
        ),
    }
}

fn new_key(asked: &Ready, kind: Kind, life: &Life) -> String {
    let exportable = if life.exportable { ".exportable()" } else { "" };
    let spec = format!(
        "KeySpec::new(KeyType::{:?}, {})?{exportable}",
        kind.key_type(),
        usages(kind.usages())
    );
    let mut fields = String::new();
    for (field, offset) in [("not_before", life.not_before), ("expires", life.expires)] {
        if let Some(offset) = offset {
            let time = time_source(asked.time(offset));
            let _ = write!(fields, "new.{field} = Some({time}); ");
        }
    }
    if life.pre_activation {
        fields.push_str("new.pre_activation = true; ");
    }
    if let Some(tag) = life.tag {
        let _ = write!(fields, "new.tags = {}; ", tags(tag));
    }
    if let Some(policy) = life.rotation {
        let _ = write!(fields, "new.rotation = Some({}); ", rotation(policy));
    }
    if life.or_add_version {
        fields.push_str("new.if_taken = IfTaken::AddVersion; ");
    }
    match fields.is_empty() {
        true => format!("NewKeyParameters::new({spec})"),
        false => format!("{{ let mut new = NewKeyParameters::new({spec}); {fields}new }}"),
    }
}

fn update(asked: &Ready, change: &Change) -> String {
    let mut text = "AttributesUpdate::new()".to_owned();
    if let Some(event) = change.event {
        let event: Event = event;
        let _ = write!(text, ".event(Event::{event:?})");
    }
    if let Some(enabled) = change.enabled {
        let _ = write!(text, ".enabled({enabled})");
    }
    if let Some(kept) = change.usages {
        let _ = write!(text, ".usages({})", usages(kept));
    }
    for (field, offset) in [
        ("not_before", change.not_before),
        ("expires", change.expires),
    ] {
        match offset {
            None => {}
            Some(None) => {
                let _ = write!(text, ".{field}(None)");
            }
            Some(Some(offset)) => {
                let _ = write!(text, ".{field}({})", time_source(asked.time(offset)));
            }
        }
    }
    if let Some(tag) = change.tag {
        let _ = write!(text, ".tags({})", tags(tag));
    }
    text
}

fn key_ref(which: &Which) -> String {
    let name = which.name;
    match which.version {
        None => format!("{name:?}.parse()?"),
        Some(number) => {
            format!("KeyRef::version({name:?}.parse()?, seen.version({name:?}, {number})?)")
        }
    }
}

fn usages(usages: Usages) -> String {
    let all = usages.iter().map(|usage| format!("Usage::{usage:?}"));
    format!("Usages::of(&[{}])", all.collect::<Vec<_>>().join(", "))
}

fn rotation(policy: Policy) -> String {
    match policy {
        Policy::After(period, None) => format!("RotationPolicy::rotate_after({period:?})?"),
        Policy::After(period, Some(life)) => {
            format!("RotationPolicy::rotate_after({period:?})?.expire_after({life:?})?")
        }
        Policy::BeforeExpiry(period, life) => {
            format!("RotationPolicy::rotate_before_expiry({period:?}, {life:?})?")
        }
    }
}

fn place(at: super::step::Place) -> String {
    use super::step::Place;
    match at {
        Place::Global => "Scope::Global".to_owned(),
        Place::Keys => "Scope::Keys".to_owned(),
        Place::Key(name) => format!("Scope::Key({name:?}.parse()?)"),
    }
}

fn paging(after: Option<String>, limit: Option<usize>) -> String {
    format!(
        "PageRequest {{ after: {}, limit: {limit:?} }}",
        option(after)
    )
}

fn option(value: Option<String>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({value})"))
}

fn algorithm(operation: Use) -> String {
    format!("Algorithm::{:?}", operation.algorithm())
}

fn role_id(id: hsm_core::policy::RoleId) -> String {
    format!("{:?}.parse()?", id.to_string())
}

fn tags(tag: &str) -> String {
    format!("Tags::new([(\"tag\", {tag:?})])?")
}

fn secret(text: &str) -> String {
    format!("SecretBytes::copy_from(b{text:?})")
}

fn bytes(bytes: &[u8]) -> String {
    format!("b{:?}", String::from_utf8_lossy(bytes))
}

fn time_source(time: Timestamp) -> String {
    format!("Timestamp::from_unix_seconds({})", time.unix_seconds())
}
