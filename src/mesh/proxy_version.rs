//! The expression by which an EnvoyFilter chooses proxies by their Istio version.

/// Whether an expression takes in the patches of a minor version; none for an expression that is not of a common form.
///
/// Istio evaluates it as a regular expression that is anchored only where it says so (`proxyMatch` in
/// `pilot/pkg/model/envoyfilter.go` of istio/istio). Here only an optional `^`, a version of two numbers, and what may
/// follow them are understood; with alternatives, groups or repeated digits the answer is unknown.
#[must_use]
pub fn takes(expression: &str, major: u32, minor: u32) -> Option<bool> {
    let (anchored, rest) = match expression.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, expression),
    };
    if rest.contains(['|', '(']) {
        return None;
    }
    let (wanted_major, rest) = digits(rest)?;
    let rest = dot(rest).or_else(|| rest.strip_prefix('.'))?;
    let (wanted_minor, rest) = digits(rest)?;
    let (major_text, minor_text) = (major.to_string(), minor.to_string());
    let is_minor = if dot(rest).is_some() {
        minor_text == wanted_minor
    } else if rest.is_empty() || rest.starts_with('.') {
        // `1\.2.*` takes in 1.2 and 1.20 to 1.29.
        minor_text.starts_with(wanted_minor)
    } else if rest == "$" {
        // A version has three numbers, so nothing ends after the second one.
        false
    } else {
        return None;
    };
    if major_text == wanted_major && is_minor {
        return Some(true);
    }
    // Without an anchor `1\.28` is found in 1.31.28, too.
    if !anchored && minor_text.ends_with(wanted_major) {
        return None;
    }
    Some(false)
}

fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    // A quantifier would belong to the last digit.
    (!number.is_empty() && !rest.starts_with(['?', '*', '+', '{'])).then_some((number, rest))
}

fn dot(text: &str) -> Option<&str> {
    text.strip_prefix("\\.").or_else(|| text.strip_prefix("[.]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_forms_are_understood_and_others_are_unknown() {
        for (expression, minor, expected) in [
            // The form in Istio's own documentation.
            (r"^1\.28.*", 28, Some(true)),
            (r"^1\.28.*", 30, Some(false)),
            (r"1\.28.*", 30, Some(false)),
            (r"^1\.2.*", 28, Some(true)),
            (r"^1\.2\..*", 28, Some(false)),
            (r"^1[.]28[.]\d+", 28, Some(true)),
            ("1.28", 28, Some(true)),
            (r"^1\.28$", 28, Some(false)),
            (r"^2\.28.*", 28, Some(false)),
            // Found in 1.31.28.
            (r"1\.28", 31, None),
            (r"^1\.28", 31, Some(false)),
            (r"^1\.(28|29).*", 28, None),
            (r"^1\.2[89].*", 28, None),
            (r"^1\.28?.*", 28, None),
            (".*", 28, None),
            ("", 28, None),
        ] {
            assert_eq!(takes(expression, 1, minor), expected, "{expression} 1.{minor}");
        }
    }
}
