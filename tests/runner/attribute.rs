//! `#[test]` for the integration tests, in place of the compiler's: the function is put into the list of
//! `tests/runner.rs`, with the reason of its `#[ignore = "…"]`.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Registers a function without arguments and result.
#[proc_macro_attribute]
pub fn test(_arguments: TokenStream, function: TokenStream) -> TokenStream {
    let mut ignored = "None".to_owned();
    let mut name = String::new();
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in function {
        match (kept.last(), &token) {
            (Some(TokenTree::Punct(hash)), TokenTree::Group(attribute)) if hash.as_char() == '#' => {
                if let Some(reason) = reason_to_ignore(attribute) {
                    ignored = format!("Some({reason})");
                    kept.pop();
                    continue;
                }
            }
            (Some(TokenTree::Ident(keyword)), TokenTree::Ident(found))
                if name.is_empty() && keyword.to_string() == "fn" =>
            {
                name = found.to_string();
            }
            _ => {}
        }
        kept.push(token);
    }
    let registered = format!(
        "::inventory::submit! {{ crate::runner::Test {{ \
            name: concat!(module_path!(), \"::{name}\"), ignored: {ignored}, run: {name} }} }}"
    );
    let registered: TokenStream = registered.parse().expect("Rust");
    kept.into_iter().chain(registered).collect()
}

/// The literal of `[ignore = "…"]`.
fn reason_to_ignore(attribute: &Group) -> Option<String> {
    if attribute.delimiter() != Delimiter::Bracket {
        return None;
    }
    let tokens: Vec<String> = attribute.stream().into_iter().map(|token| token.to_string()).collect();
    match &tokens[..] {
        [ignore, equals, reason] if ignore == "ignore" && equals == "=" => Some(reason.clone()),
        _ => None,
    }
}
