//! Whatever comes over the wire, route and body: refused, or a request that its own writing leads back to.
#![no_main]

use hsm_wire::{Buffers, Outgoing, Route};
use http::Method;
use libfuzzer_sys::fuzz_target;

/// A line `METHOD target`, then the body.
fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let line = parts.next().unwrap_or_default();
    let body = parts.next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return;
    };
    let Some((method, target)) = line.split_once(' ') else {
        return;
    };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return;
    };
    let Ok(Route::Engine(route)) = parse(&method, target) else {
        return;
    };
    let mut buffers = Buffers::default();
    let Ok(request) = route.request(body, &mut buffers) else {
        return;
    };
    // What was taken for a request can be sent, unless the client knows better, and arrives as the same one.
    let Ok(sent) = Outgoing::new(&request) else {
        return;
    };
    let Ok(Route::Engine(route)) = parse(&sent.method, &sent.target) else {
        panic!("{} {} is not found", sent.method, sent.target);
    };
    assert_eq!(route, sent.route);
    let mut buffers = Buffers::default();
    let arrived = route
        .request(sent.body.as_bytes(), &mut buffers)
        .expect("what was written is read");
    let again = Outgoing::new(&arrived).expect("it was sent before");
    assert_eq!(again.target, sent.target);
    assert_eq!(again.body.as_bytes(), sent.body.as_bytes());
});

fn parse(method: &Method, target: &str) -> Result<Route, hsm_wire::Misrouted> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    Route::parse(method, path, query)
}
