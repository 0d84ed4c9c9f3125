//! Damage: to bytes, and to the structure of what parses.

use serde_json::{Map, Value, json};

/// SplitMix64: small, and good enough to choose damage.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 for an empty range.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    pub fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    pub fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
}

const TOKENS: [&[u8]; 66] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\\"",
    b"\\u0000",
    b"\\ud800",
    b"\\u001b[31m",
    b"null",
    b"true",
    b"false",
    b"-",
    b"0",
    b"-1",
    b"1e999",
    b"-0.0",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"4294967296",
    b"\"items\":",
    b"\"items\":[",
    b"\"items\":null",
    b"\"metadata\":{\"continue\":\"x\"}",
    b"\"kind\":\"List\"",
    b"\"status\":null",
    b"\"spec\":[]",
    b"\"labels\":",
    b"\"annotations\":",
    b"\n",
    b"\r\n",
    b"\t",
    b"\0",
    b"\x1b[2J",
    b"\xc2\x9b",
    b"\xff",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xae",
    b"\xef\xbb\xbf",
    b"---\n",
    b"...\n",
    b"- ",
    b"? ",
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!!binary ",
    b"!!str ",
    b"!x ",
    b"| \n",
    b">-\n  ",
    b"# ",
    b"%YAML 1.1\n",
    b"~",
    b"0x7fffffffffffffff",
    b".inf",
    b"asm-1-4294967296",
    b"9999-12-31T23:59:59Z",
    b"-009999-01-01T00:00:00Z",
    b"*",
    b"((()))",
];

/// Damages a copy of `seed`, with pieces of `other`.
pub fn mutate(random: &mut Random, seed: &[u8], other: &[u8]) -> Vec<u8> {
    if random.chance(2)
        && let Some(changed) = structured(random, seed)
    {
        return changed;
    }
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(6) {
        damage(random, &mut bytes, other);
    }
    bytes.truncate(1 << 20);
    bytes
}

fn range(random: &mut Random, length: usize) -> std::ops::Range<usize> {
    let start = random.below(length + 1);
    let longest = (length - start).min(if random.chance(8) { length } else { 40 });
    start..start + random.below(longest + 1)
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len() + 1);
    match random.below(12) {
        0 if !bytes.is_empty() => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        1 if !bytes.is_empty() => {
            let at = random.below(bytes.len());
            bytes[at] = random.next() as u8;
        }
        2 => drop(bytes.drain(range(random, bytes.len()))),
        3 => {
            let piece = bytes[range(random, bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        4 | 5 => drop(bytes.splice(at..at, random.one(&TOKENS).iter().copied())),
        6 => {
            let piece = other[range(random, other.len())].to_vec();
            let gone = at..(at + random.below(40)).min(bytes.len());
            bytes.splice(gone, piece);
        }
        7 => bytes.truncate(at),
        8 => {
            // Deeper than any recursion should follow.
            let open = *random.one(&[&b"["[..], b"{\"a\":", b"- ", b"{\"metadata\":", b"(", b"[{\"spec\":"]);
            let deep = open.repeat(1 << random.below(14));
            bytes.splice(at..at, deep);
        }
        9 => {
            let digits = bytes.iter().position(|byte| byte.is_ascii_digit());
            if let Some(start) = digits {
                let end =
                    bytes[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |n| start + n);
                let number =
                    *random.one(&[&b"0"[..], b"-1", b"2147483648", b"4294967296", b"18446744073709551616", b"1e400"]);
                bytes.splice(start..end, number.iter().copied());
            }
        }
        10 => {
            let again = *random.one(&[2, 3, 50, 1000]);
            let piece = bytes[range(random, bytes.len())].to_vec();
            if piece.len() * again < 1 << 16 {
                bytes.splice(at..at, piece.repeat(again));
            }
        }
        _ => {
            let noise: Vec<u8> = (0..random.below(9)).map(|_| random.next() as u8).collect();
            bytes.splice(at..at, noise);
        }
    }
}

/// Changes values of a JSON or YAML document; none where it does not parse.
fn structured(random: &mut Random, seed: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = match serde_json::from_slice(seed) {
        Ok(value) => value,
        Err(_) => serde_yaml::from_slice(seed).ok()?,
    };
    if !value.is_object() && !value.is_array() {
        return None;
    }
    for _ in 0..=random.below(4) {
        change(random, &mut value);
    }
    Some(value.to_string().into_bytes())
}

/// Replaces, removes, doubles or moves something somewhere in a value.
pub fn change(random: &mut Random, value: &mut Value) {
    let count = size(value);
    let donor = nth(value, &mut random.below(count)).cloned();
    let mut left = random.below(count);
    let Some(place) = nth_mut(value, &mut left) else { return };
    match random.below(5) {
        0 => *place = odd(random),
        1 => *place = donor.unwrap_or_default(),
        2 => match place {
            Value::Object(map) if !map.is_empty() => {
                let key = map.keys().nth(random.below(map.len())).cloned().unwrap_or_default();
                map.remove(&key);
            }
            Value::Array(list) if !list.is_empty() => drop(list.remove(random.below(list.len()))),
            other => *other = Value::Null,
        },
        3 => match place {
            Value::Object(map) => drop(map.insert(odd_text(random), donor.unwrap_or_default())),
            Value::Array(list) => list.push(donor.unwrap_or_default()),
            Value::String(text) => text.push_str(&odd_text(random)),
            Value::Number(_) => *place = odd(random),
            _ => {}
        },
        _ => match place {
            Value::String(text) => {
                let cut = random.below(text.chars().count() + 1);
                *text = text.chars().take(cut).collect::<String>() + &odd_text(random);
            }
            Value::Bool(on) => *on = !*on,
            Value::Array(list) if !list.is_empty() => {
                let again = list[random.below(list.len())].clone();
                list.extend(std::iter::repeat_n(again, random.below(20)));
            }
            other => *other = odd(random),
        },
    }
}

fn odd(random: &mut Random) -> Value {
    match random.below(12) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(1e300),
        6 => json!(true),
        7 => json!(4_294_967_295_u32),
        8 => Value::Array(vec![odd_text(random).into()]),
        9 => Value::Object(Map::from_iter([(odd_text(random), odd_text(random).into())])),
        _ => odd_text(random).into(),
    }
}

fn odd_text(random: &mut Random) -> String {
    const TEXTS: [&str; 34] = [
        "",
        " ",
        "a",
        "\u{1b}[31m",
        "\u{9b}2J",
        "\u{202e}",
        "\n",
        "\0",
        "é",
        "日本語",
        "\u{1f600}",
        "asm-1-30",
        "asm-1-4294967296",
        "asm--",
        "default",
        "istio-injection",
        "istio.io/rev",
        "istio.io/tag",
        "sidecar.istio.io/inject",
        "enabled",
        "disabled",
        "true",
        "false",
        "In",
        "NotIn",
        "Exists",
        "DoesNotExist",
        "Always",
        "aks-istio-system",
        "istiod",
        "mcr.microsoft.com/oss/v2/istio/proxyv2:v1.28.9-2",
        "9999-12-31T23:59:59Z",
        "-009999-01-02T00:00:00Z",
        "{\"a\":[",
    ];
    match random.below(20) {
        0 => "x".repeat(1 << random.below(12)),
        1 => format!("{}{}", random.one(&TEXTS), random.next()),
        _ => (*random.one(&TEXTS)).to_owned(),
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

fn nth<'v>(value: &'v Value, left: &mut usize) -> Option<&'v Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter().find_map(|value| nth(value, left)),
        Value::Object(map) => map.values().find_map(|value| nth(value, left)),
        _ => None,
    }
}

fn nth_mut<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|value| nth_mut(value, left)),
        Value::Object(map) => map.values_mut().find_map(|value| nth_mut(value, left)),
        _ => None,
    }
}
