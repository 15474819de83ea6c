//! `hsm token`.

use clap::{Args, Subcommand};
use hsm_client::{PageRequest, Principal, TokenInfo, TokenName, limits};
use hsm_core::{Request, Response};

use super::Result;
use super::connect::Connect;
use super::key::unexpected;
use super::output::{Out, Place, Secrecy};
use super::view::TokenView;
use super::when::When;

/// Makes and deletes API tokens
#[derive(Args, Debug)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a token, which logs its principal in until it expires; it is shown this once
    Create(Create),
    /// Lists tokens; never the tokens themselves
    List,
    /// Deletes a token; sessions that it opened end
    Delete {
        /// The token's name
        name: TokenName,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// The token's name
    name: TokenName,

    /// Whom it logs in; who asks, if not given
    #[arg(long, value_name = "NAME")]
    principal: Option<Principal>,

    /// Until when: a time, a date or a period from now
    #[arg(long, value_name = "WHEN", default_value = "P30D")]
    expires: When,

    /// Write the token to this file, which only its owner may read; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: Place,

    /// Show the token on a terminal
    #[arg(long)]
    force: bool,
}

impl Token {
    pub(crate) async fn run(self, out: &Out) -> Result<()> {
        let command = self.command;
        self.connect
            .with(async |session| match command {
                Command::Create(create) => {
                    let principal = create
                        .principal
                        .unwrap_or_else(|| session.principal().clone());
                    // Before the token is made, as it is shown once.
                    if create.out == Place::Standard && !out.is_json() {
                        create.out.check_secret(create.force)?;
                    }
                    let request = Request::CreateToken {
                        name: create.name,
                        principal,
                        expires: create.expires.timestamp(),
                    };
                    let (token, info) = match session.call(request).await? {
                        Response::Token { token, info } => (token, info),
                        other => return Err(unexpected(&other)),
                    };
                    let view = TokenView::new(&info);
                    if out.is_json() && create.out == Place::Standard {
                        let text = String::from_utf8_lossy(token.expose());
                        return out.json(&serde_json::json!({ "token": text, "info": view }));
                    }
                    create.out.write(token.expose(), Secrecy::Secret, true)?;
                    if create.out == Place::Standard {
                        return create.out.write(b"\n", Secrecy::Public, true);
                    }
                    out.one(&view)
                }
                Command::List => {
                    let mut tokens: Vec<TokenInfo> = Vec::new();
                    let mut after = None;
                    loop {
                        let limit = Some(limits::PAGE_LEN_MAX);
                        let page = PageRequest { after, limit };
                        match session.call(Request::ListTokens { page }).await? {
                            Response::Tokens(page) => {
                                tokens.extend(page.items);
                                after = page.next;
                            }
                            other => return Err(unexpected(&other)),
                        }
                        if after.is_none() {
                            break;
                        }
                    }
                    let views: Vec<_> = tokens.iter().map(TokenView::new).collect();
                    out.list(&views, "tokens")
                }
                Command::Delete { name } => {
                    let note = format!("token {name} is deleted");
                    match session.call(Request::DeleteToken { name }).await? {
                        Response::Done => out.note(&note),
                        other => return Err(unexpected(&other)),
                    }
                    Ok(())
                }
            })
            .await
    }
}
