//! What `hsm serve --dev` makes: a private CA, a folder, an administrator, snippets.
