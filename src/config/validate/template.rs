//! Templates such as `https://{host}{path}`.

use crate::config::model::TemplatePiece;

/// The template in pieces, literals joined; or what is wrong with it.
pub(super) fn pieces(text: &str) -> Result<Vec<TemplatePiece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        literal.push_str(before);
        if let Some(tail) = after.strip_prefix("{{") {
            literal.push('{');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix("}}") {
            literal.push('}');
            rest = tail;
        } else if let Some((name, tail)) =
            after.strip_prefix('{').and_then(|inner| inner.split_once('}'))
        {
            let piece = match name {
                "host" => TemplatePiece::Host,
                "path" => TemplatePiece::Path,
                "scheme" => TemplatePiece::Scheme,
                _ => return Err(format!("unknown name `{{{name}}}` in a template")),
            };
            if !literal.is_empty() {
                pieces.push(TemplatePiece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = tail;
        } else {
            return Err("a brace of the template has no partner".into());
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(TemplatePiece::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_literal_braces_are_told_apart() {
        let read = pieces("https://{host}{path}?{{x}}").unwrap();
        assert_eq!(
            read,
            [
                TemplatePiece::Literal("https://".into()),
                TemplatePiece::Host,
                TemplatePiece::Path,
                TemplatePiece::Literal("?{x}".into()),
            ]
        );
        for wrong in ["{x}", "{host", "host}", "{"] {
            assert!(pieces(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_literal_once_its_braces_are_doubled(text in "[a-z{}/]{1,20}") {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(pieces(&doubled), Ok(vec![TemplatePiece::Literal(text)]));
        }
    }
}
