//! What stands behind the `?` of a request, read as strictly as a body: every parameter is known, readable and given once.
//!
//! One that were passed over in silence would be a filter that filters nothing, or a `dry_run=true` that is none. Whoever
//! reads takes what they know by its name and ends with [`Parameters::end`]; rows of the API that take none let this module
//! say so, see [`refuse_all`].

use std::fmt::Display;

use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::Response;

use super::Problem;
use crate::message::{Refusal, quoted, shown};

/// The most parameters of a request: twice as many as any row takes.
const PARAMETERS_MAX: usize = 16;

/// The parameters of one request that nobody has taken yet, and the names that were asked for.
pub(super) struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Parameters {
    /// Those of `uri`.
    ///
    /// # Errors
    /// The first that can't be read or is given again.
    pub(super) fn of(uri: &Uri) -> Result<Self, Refusal> {
        let mut given: Vec<(String, String)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let unreadable = |named: &str| {
                Refusal::new(
                    shown(named),
                    "can't be read: `%` stands before two hexadecimal digits, and they are UTF-8",
                )
            };
            let name = decoded(name).ok_or_else(|| unreadable(name))?;
            let value = decoded(value).ok_or_else(|| unreadable(&name))?;
            if given.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::new(shown(&name), "is given twice"));
            }
            if given.len() == PARAMETERS_MAX {
                return Err(Refusal::new(shown(&name), format!("is one too many; at most {PARAMETERS_MAX} are read")));
            }
            given.push((name, value));
        }
        Ok(Self { given, known: Vec::new() })
    }

    /// The parameter called `name` as `read` reads it, if it is given.
    ///
    /// # Errors
    /// What `read` has against it.
    pub(super) fn take<T, E: Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Refusal> {
        self.known.push(name);
        let Some(index) = self.given.iter().position(|(given, _)| given == name) else { return Ok(None) };
        let (_, value) = self.given.swap_remove(index);
        read(&value).map(Some).map_err(|problem| Refusal::new(name, problem))
    }

    /// A whole number, both bounds included.
    ///
    /// # Errors
    /// When it is none, or beyond them.
    pub(super) fn number(&mut self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        self.take(name, |text| whole(text, least, most))
    }

    /// Any text but none.
    ///
    /// # Errors
    /// When it is empty.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        let some =
            |text: &str| if text.is_empty() { Err("is empty: leave it out, or say which") } else { Ok(text.into()) };
        self.take(name, some)
    }

    /// Makes sure that nothing is left: to be called once all that is known was taken, and before anything is missed.
    ///
    /// # Errors
    /// A parameter that nobody has taken.
    pub(super) fn end(self) -> Result<(), Refusal> {
        let Some((name, _)) = self.given.first() else { return Ok(()) };
        let known: Vec<_> = self.known.iter().map(|name| format!("`{name}`")).collect();
        let right = match &known[..] {
            [] => "is unknown; nothing is taken here but the path".into(),
            known => format!("is unknown; known are {}", known.join(", ")),
        };
        Err(Refusal::new(shown(name), right))
    }
}

/// A whole number from `least` to `most`. Digits alone: `u64` would also read a sign.
pub(super) fn whole(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let read = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
    read.ok_or_else(|| format!("must be a whole number from {least} to {most}, not {}", quoted(text)))
}

/// A name or a value as it was meant (WHATWG URL, 5.1), if it can be read.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut escaped = [0];
                hex::decode_to_slice([rest.next()?, rest.next()?], &mut escaped).ok()?;
                escaped[0]
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// For a row that takes none: refuses any.
pub(super) async fn refuse_all(request: Request, next: Next) -> Result<Response, Problem> {
    Parameters::of(request.uri())?.end()?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Parameters, Refusal> {
        Parameters::of(&format!("/?{query}").try_into().unwrap())
    }

    #[test]
    fn what_is_given_is_read_as_it_was_meant() {
        let mut all = of("&name=a+b%26%c3%A9&&max=7&flag").unwrap();
        assert_eq!(all.text("name").unwrap().as_deref(), Some("a b&é"));
        assert_eq!((all.number("max", 1, 7), all.number("min", 0, 9)), (Ok(Some(7)), Ok(None)));
        assert_eq!(all.text("flag").unwrap_err().field, "flag");
        all.end().unwrap();
    }

    #[test]
    fn what_is_unreadable_repeated_unknown_or_too_much_is_refused_by_its_name() {
        for (query, field, problem) in [
            ("a=%", "a", "two hexadecimal digits"),
            ("a=%4", "a", "two hexadecimal digits"),
            ("a=%+4", "a", "two hexadecimal digits"),
            ("a=%ff", "a", "UTF-8"),
            ("%ff=1", "%ff", "UTF-8"),
            ("a=1&%61=1", "a", "is given twice"),
            ("a&a", "a", "is given twice"),
        ] {
            let refused = of(query).map(|_| ()).expect_err(query);
            assert!(refused.field == field && refused.problem.contains(problem), "{query}: {refused}");
        }
        let many: Vec<_> = (0..=PARAMETERS_MAX).map(|index| format!("p{index}=")).collect();
        let refused = of(&many.join("&")).map(|_| ()).unwrap_err();
        assert!(refused.field == "p16" && refused.problem.contains("at most 16"), "{refused}");
        let mut some = of("b=1&a=2").unwrap();
        some.number("a", 0, 9).unwrap();
        some.text("c").unwrap();
        let refused = some.end().unwrap_err();
        assert_eq!((&*refused.field, &*refused.problem), ("b", "is unknown; known are `a`, `c`"));
        let refused = of("dry_run=true").unwrap().end().unwrap_err();
        assert_eq!((&*refused.field, &*refused.problem), ("dry_run", "is unknown; nothing is taken here but the path"));
    }

    #[test]
    fn a_whole_number_is_digits_within_its_bounds() {
        for text in ["", "-1", "+5", "1.5", "0x5", "8", "99999999999999999999", "\u{661}"] {
            assert!(whole(text, 1, 7).is_err_and(|problem| problem.contains("a whole number from 1 to 7")), "{text}");
        }
        assert_eq!((whole("1", 1, 7), whole("007", 1, 7)), (Ok(1), Ok(7)));
    }
}
