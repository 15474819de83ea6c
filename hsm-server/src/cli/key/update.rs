//! `hsm key update`.

use clap::Args;
use hsm_client::lifecycle::Event;
use hsm_client::{AttributesUpdate, KeyRef, Session, Tags, Usage};
use hsm_core::Request;

use super::{info, parse_event};
use crate::cli::Result;
use crate::cli::failure::Failure;
use crate::cli::output::Out;
use crate::cli::view::KeyView;
use crate::cli::when::WhenOrNone;

#[derive(Args, Debug)]
pub(super) struct Update {
    /// NAME or NAME/VERSION
    key: KeyRef,

    /// Of no use before: a time, a date, a period from now, or `none`
    #[arg(long, value_name = "WHEN")]
    not_before: Option<WhenOrNone>,

    /// Deactivated from then on: a time, a date, a period from now, or `none`
    #[arg(long, value_name = "WHEN")]
    expires: Option<WhenOrNone>,

    /// The usages that are left; usages are never added
    #[arg(long = "usage", value_name = "USAGE", value_delimiter = ',')]
    usages: Vec<Usage>,

    /// A tag NAME=VALUE; those that are given take the place of all that there are
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,

    /// Remove all tags
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,

    /// A step of the lifecycle: activate, suspend, resume, deactivate, compromise or destroy
    #[arg(long, value_parser = parse_event)]
    event: Option<Event>,
}

impl Update {
    pub(super) async fn run(self, session: &Session, out: &Out) -> Result<()> {
        let mut update = AttributesUpdate::new();
        if let Some(time) = self.not_before {
            update = update.not_before(time.timestamp());
        }
        if let Some(time) = self.expires {
            update = update.expires(time.timestamp());
        }
        if !self.usages.is_empty() {
            update = update.usages(self.usages.into_iter().collect());
        }
        if self.no_tags || !self.tags.is_empty() {
            update = update.tags(Tags::new(self.tags)?);
        }
        if let Some(event) = self.event {
            update = update.event(event);
        }
        if update == AttributesUpdate::new() {
            return Err(Failure::usage("nothing to change")
                .hint("add --expires, --not-before, --usage, --tag, --no-tags or --event"));
        }
        let key = self.key;
        let info = info(session, Request::UpdateKey { key, update }).await?;
        out.one(&KeyView::new(&info)?)
    }
}

pub(super) fn parse_tag(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "a tag is NAME=VALUE".to_owned())
}
