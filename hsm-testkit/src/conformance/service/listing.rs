//! Listings come in pages that cover everything once, in order.

use hsm_core::limits::{PAGE_LEN_DEFAULT, PAGE_LEN_MAX};
use hsm_core::{ErrorKind, KeyType, Page, PageRequest, Request, Response, Result};

use super::super::{fails, ok};
use super::*;

const COVERED: &str = "pages cover everything once, in order";

/// What can be listed in pages.
#[derive(Clone, Copy, Debug)]
enum Listing {
    Keys,
    Versions,
    DeletedKeys,
    Users,
}

const LISTINGS: [Listing; 4] = [
    Listing::Keys,
    Listing::Versions,
    Listing::DeletedKeys,
    Listing::Users,
];

impl Listing {
    /// One page, of the names of its items.
    async fn page(self, caller: &Caller, page: PageRequest) -> Result<Page<String>> {
        let request = match self {
            Self::Keys => Request::ListKeys { page },
            Self::Versions => Request::ListVersions {
                name: name("versions"),
                page,
            },
            Self::DeletedKeys => Request::ListDeletedKeys { page },
            Self::Users => Request::ListUsers { page },
        };
        Ok(match caller.call(request).await? {
            Response::Keys(page) => Page {
                items: page.items.iter().map(|item| self.label(item)).collect(),
                next: page.next,
            },
            Response::Users(page) => Page {
                items: page
                    .items
                    .iter()
                    .map(|item| item.name.to_string())
                    .collect(),
                next: page.next,
            },
            other => unexpected("a page", &other),
        })
    }

    fn label(self, item: &KeyInfo) -> String {
        match self {
            Self::Versions => item.version.to_string(),
            _ => item.name.to_string(),
        }
    }
}

/// A new service has no keys, live or deleted, and one user.
pub async fn listings_of_nothing_are_empty(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    for (listing, expected) in [
        (Listing::Keys, vec![]),
        (Listing::DeletedKeys, vec![]),
        (Listing::Users, vec![ADMINISTRATOR.to_owned()]),
    ] {
        let page = listing.page(&opened.all, PageRequest::default()).await;
        let page = ok(page, format!("{listing:?}"));
        assert_eq!(page.items, expected, "{listing:?} of a new service");
        assert_eq!(page.next, None, "{listing:?} of a new service");
    }
}

/// Pages of every length, exactly full ones included.
pub async fn pages_cover_everything_once(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    let caller = &opened.all;
    // Sorted by their bytes, which is not the order in which they are made.
    let mut names = vec!["a", "Z", "a-b", "aa", "9"];
    for key in &names {
        caller.create(key, KeyType::Aes128, ENCRYPT).await;
        let deleted = format!("{key}-deleted");
        caller.create(&deleted, KeyType::Aes128, ENCRYPT).await;
        ok(caller.delete(&deleted).await, "delete");
    }
    names.sort_unstable();
    let mut versions = vec![caller.create("versions", KeyType::Aes128, ENCRYPT).await];
    for _ in 1..5 {
        versions.push(ok(caller.rotate("versions").await, "rotate"));
    }
    let user = Request::CreateUser {
        name: principal("another"),
        password: SecretBytes::copy_from(PASSWORD.as_bytes()),
    };
    ok(caller.call(user).await, "create a user");

    for listing in LISTINGS {
        let mut expected: Vec<String> = match listing {
            Listing::Keys => names.iter().map(ToString::to_string).collect(),
            Listing::DeletedKeys => names.iter().map(|key| format!("{key}-deleted")).collect(),
            Listing::Versions => versions.iter().map(|info| listing.label(info)).collect(),
            Listing::Users => vec![ADMINISTRATOR.to_owned(), "another".to_owned()],
        };
        if let Listing::Keys = listing {
            expected.push("versions".to_owned());
        }
        if !matches!(listing, Listing::Versions) {
            expected.sort_unstable();
        }
        for limit in 1..=expected.len() + 1 {
            let pages = all_pages(listing, caller, limit).await;
            let clause = format!("{COVERED}: {listing:?} by {limit}");
            assert_eq!(pages.concat(), expected, "{clause}");
            let lens: Vec<_> = pages.iter().map(Vec::len).collect();
            let full = expected.chunks(limit).map(<[String]>::len);
            assert_eq!(lens, full.collect::<Vec<_>>(), "{clause}");
        }
    }
}

/// Without a limit a page has the default length.
pub async fn pages_have_a_default_length(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    for at in 0..=PAGE_LEN_DEFAULT {
        let key = format!("key-{at:02}");
        opened.all.create(&key, KeyType::Aes128, ENCRYPT).await;
    }
    let first = ok(opened.all.keys(PageRequest::default()).await, "a page");
    assert_eq!(first.items.len(), PAGE_LEN_DEFAULT);
    let page = PageRequest {
        after: first.next,
        limit: None,
    };
    let last = ok(opened.all.keys(page).await, "the last page");
    assert_eq!((last.items.len(), last.next), (1, None));
}

/// A page of nothing and one beyond the limit are refused.
pub async fn pages_of_impossible_lengths_are_refused(make: impl AsyncFn() -> ServiceUnderTest) {
    let opened = Opened::new(make().await).await;
    opened
        .all
        .create("versions", KeyType::Aes128, ENCRYPT)
        .await;
    for listing in LISTINGS {
        for (limit, kind) in [
            (0, ErrorKind::InvalidInput),
            (PAGE_LEN_MAX + 1, ErrorKind::LimitExceeded),
        ] {
            let page = PageRequest {
                after: None,
                limit: Some(limit),
            };
            let found = listing.page(&opened.all, page).await;
            fails(found, &[kind], format!("{listing:?} by {limit}"));
        }
        let page = PageRequest {
            after: None,
            limit: Some(PAGE_LEN_MAX),
        };
        let found = listing.page(&opened.all, page).await;
        ok(found, format!("{listing:?} by {PAGE_LEN_MAX}"));
    }
}

async fn all_pages(listing: Listing, caller: &Caller, limit: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = PageRequest {
            after,
            limit: Some(limit),
        };
        let page = ok(listing.page(caller, page).await, COVERED);
        pages.push(page.items);
        assert!(pages.len() < 100, "{COVERED}: {listing:?} does not end");
        match page.next {
            Some(next) => after = Some(next),
            None => return pages,
        }
    }
}
