//! Takes a list's JSON apart into its items while the bytes arrive.
//!
//! One pass: every byte is looked at once, whatever the chunks are. An item that lies inside one chunk is handed over
//! in place; only an item that spans chunks is copied. The structure around the items is checked, the inside of an
//! item is not: that is its decoder's work, and one bad item must not cost the list.

/// Largest item handed over. etcd holds about 1.5 MiB per object; anything near this is not a Kubernetes object.
pub const ITEM_CAP: usize = 8 << 20;

/// Largest list metadata kept (it holds the continue token).
const METADATA_CAP: usize = 1 << 20;

/// Longest top-level key that is compared; longer ones are none of ours.
const KEY_CAP: usize = 64;

/// Why the bytes are not a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The first byte does not open a JSON object.
    #[error("the answer is not a JSON object")]
    NotAnObject,
    /// Structure characters in the wrong place, at this offset.
    #[error("the answer is not valid JSON at byte {0}")]
    Garbage(usize),
    /// The bytes ended before the object did.
    #[error("the answer stops in the middle")]
    Truncated,
    /// A complete object without `items`.
    #[error("the answer is not a list")]
    NotAList,
}

/// What stands around the items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// Token for the next page, if there is one.
    pub continue_token: Option<String>,
    /// Items skipped because they were larger than [`ITEM_CAP`].
    pub oversized: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// After `{`: a key or the end.
    FirstKey,
    /// After `,`: a key.
    NextKey,
    Key,
    Colon,
    /// Before a value of the top level.
    Value,
    /// After a value of the top level.
    AfterValue,
    /// After `[` of the items: an item or the end.
    FirstItem,
    /// After `,` between items: an item.
    NextItem,
    /// After an item.
    AfterItem,
    /// Inside a value (an item, the metadata, or something that is skipped).
    Inside,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Item,
    Metadata,
    Skipped,
}

/// The state machine. Feed it with [`Splitter::push`], then ask [`Splitter::finish`].
#[derive(Debug)]
pub struct Splitter {
    state: State,
    role: Role,
    /// Open brackets and braces inside the current value.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The current value is a bare word (number, true, null), which ends where something else begins.
    bare: bool,
    key: Vec<u8>,
    /// Start of the current value, from earlier chunks.
    held: Vec<u8>,
    too_big: bool,
    metadata: Vec<u8>,
    saw_items: bool,
    oversized: usize,
    offset: usize,
    item_cap: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            state: State::Start,
            role: Role::Skipped,
            depth: 0,
            in_string: false,
            escaped: false,
            bare: false,
            key: Vec::new(),
            held: Vec::new(),
            too_big: false,
            metadata: Vec::new(),
            saw_items: false,
            oversized: 0,
            offset: 0,
            item_cap: ITEM_CAP,
        }
    }
}

impl Splitter {
    /// A splitter at the beginning of an answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next bytes and hands over every item that ends in them.
    ///
    /// # Errors
    /// The structure around the items is broken; items handed over before stay valid.
    pub fn push(&mut self, chunk: &[u8], mut on_item: impl FnMut(&[u8])) -> Result<(), SplitError> {
        let mut at = 0;
        // Where the current value starts in this chunk; 0 when it started in an earlier one.
        let mut value_start = 0;
        while at < chunk.len() {
            if self.state == State::Inside {
                match self.scan(&chunk[at..]) {
                    None => break,
                    Some(used) => {
                        at += used;
                        self.end_value(&chunk[value_start..at], &mut on_item);
                    }
                }
                continue;
            }
            let byte = chunk[at];
            match self.state {
                State::Key => {
                    let rest = &chunk[at..];
                    match rest.iter().position(|b| *b == b'"') {
                        // A key with an escape in it is none of ours, but it must end where it really ends.
                        Some(end) => {
                            let escaped = odd_backslashes(&rest[..end], &self.key);
                            self.hold_key(&rest[..end]);
                            at += end + 1;
                            if escaped {
                                self.hold_key(b"\"");
                            } else {
                                self.state = State::Colon;
                            }
                        }
                        None => {
                            self.hold_key(rest);
                            at = chunk.len();
                        }
                    }
                    continue;
                }
                _ if byte.is_ascii_whitespace() => {}
                State::Start if byte == b'{' => self.state = State::FirstKey,
                State::Start => return Err(SplitError::NotAnObject),
                State::FirstKey | State::NextKey if byte == b'"' => {
                    self.key.clear();
                    self.state = State::Key;
                }
                State::FirstKey if byte == b'}' => self.state = State::Done,
                State::Colon if byte == b':' => self.state = State::Value,
                State::Value if byte == b'[' && self.key == b"items" => {
                    self.saw_items = true;
                    self.state = State::FirstItem;
                }
                State::Value => {
                    // `"items": null` is how some servers write an empty list; any other value is none.
                    if self.key == b"items" && byte != b'n' {
                        return Err(SplitError::NotAList);
                    }
                    self.saw_items |= self.key == b"items";
                    self.role = if self.key == b"metadata" { Role::Metadata } else { Role::Skipped };
                    value_start = at;
                    at += self.begin_value(byte, at)?;
                    continue;
                }
                State::AfterValue if byte == b',' => self.state = State::NextKey,
                State::AfterValue if byte == b'}' => self.state = State::Done,
                State::FirstItem | State::AfterItem if byte == b']' => self.state = State::AfterValue,
                State::FirstItem | State::NextItem => {
                    self.role = Role::Item;
                    value_start = at;
                    at += self.begin_value(byte, at)?;
                    continue;
                }
                State::AfterItem if byte == b',' => self.state = State::NextItem,
                _ => return Err(SplitError::Garbage(self.offset + at)),
            }
            at += 1;
        }
        if self.state == State::Inside {
            self.hold(&chunk[value_start..]);
        }
        self.offset += chunk.len();
        Ok(())
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// They ended too early, or the object was no list.
    pub fn finish(self) -> Result<ListMeta, SplitError> {
        match self.state {
            State::Start => return Err(SplitError::NotAnObject),
            State::Done if !self.saw_items => return Err(SplitError::NotAList),
            State::Done => {}
            _ => return Err(SplitError::Truncated),
        }
        #[derive(serde::Deserialize)]
        struct Metadata {
            #[serde(default, rename = "continue")]
            continue_token: Option<String>,
        }
        let continue_token = serde_json::from_slice::<Metadata>(&self.metadata)
            .ok()
            .and_then(|metadata| metadata.continue_token)
            .filter(|token| !token.is_empty());
        Ok(ListMeta { continue_token, oversized: self.oversized })
    }

    /// Starts a value at `byte`; says how many bytes of it were consumed.
    fn begin_value(&mut self, byte: u8, at: usize) -> Result<usize, SplitError> {
        self.held.clear();
        self.too_big = false;
        self.escaped = false;
        self.depth = 0;
        self.in_string = false;
        self.bare = false;
        match byte {
            b'{' | b'[' => self.depth = 1,
            b'"' => self.in_string = true,
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.bare = true,
            _ => return Err(SplitError::Garbage(self.offset + at)),
        }
        self.state = State::Inside;
        Ok(1)
    }

    /// Runs through the current value; says after how many bytes it ended, or none if it goes on.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.bare {
            return bytes.iter().position(|b| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace());
        }
        let mut at = 0;
        if self.in_string {
            at = self.end_of_string(bytes, 0)?;
            if self.depth == 0 {
                return Some(at);
            }
        }
        // Not in the struct while it runs: this looks at every byte of the longest lists.
        let mut depth = self.depth;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => match self.end_of_string(bytes, at) {
                    Some(end) => at = end,
                    None => break,
                },
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        self.depth = depth;
        None
    }

    /// Where the string goes on that a chunk is in at `at`: just after its end, or none if that is in a later chunk.
    fn end_of_string(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        self.in_string = true;
        loop {
            if self.escaped {
                bytes.get(at)?;
                self.escaped = false;
                at += 1;
            }
            at += quote_or_backslash(bytes.get(at..)?)? + 1;
            if bytes.get(at - 1) == Some(&b'"') {
                self.in_string = false;
                return Some(at);
            }
            self.escaped = true;
        }
    }

    fn end_value(&mut self, tail: &[u8], on_item: &mut impl FnMut(&[u8])) {
        let whole = self.held.is_empty() && !self.too_big;
        match self.role {
            Role::Skipped => {}
            Role::Metadata => {
                self.hold(tail);
                if !self.too_big {
                    self.metadata = std::mem::take(&mut self.held);
                }
            }
            Role::Item if whole && tail.len() <= self.item_cap => on_item(tail),
            Role::Item => {
                self.hold(tail);
                if self.too_big {
                    self.oversized += 1;
                } else {
                    on_item(&self.held);
                }
            }
        }
        self.held.clear();
        // One exceptionally large item must not keep its buffer for the rest of the list.
        self.held.shrink_to(256 << 10);
        self.state = if self.role == Role::Item { State::AfterItem } else { State::AfterValue };
    }

    fn hold(&mut self, bytes: &[u8]) {
        let cap = match self.role {
            Role::Skipped => return,
            Role::Metadata => METADATA_CAP,
            Role::Item => self.item_cap,
        };
        if self.too_big || self.held.len() + bytes.len() > cap {
            self.too_big = true;
            self.held.clear();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    /// Keeps what is needed to compare a key and to know whether its last quote is escaped. A key longer than the cap
    /// keeps its end, which matches none of ours.
    fn hold_key(&mut self, bytes: &[u8]) {
        self.key.extend_from_slice(bytes);
        if self.key.len() > 2 * KEY_CAP {
            let cut = self.key.len() - 2 * KEY_CAP;
            self.key.drain(..cut);
        }
    }
}

/// Whether an odd number of backslashes stands at the end of `before` + `bytes`.
fn odd_backslashes(bytes: &[u8], before: &[u8]) -> bool {
    bytes.iter().rev().chain(before.iter().rev()).take_while(|b| **b == b'\\').count() % 2 == 1
}

/// Index of the first `"` or `\`. Eight bytes at a time: most of a list is inside strings.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let hit = has_zero(word ^ (ONES * b'"' as u64)) | has_zero(word ^ (ONES * b'\\' as u64));
        if hit != 0 {
            // The lowest flagged byte is always a true one; only those above it can be flagged by a borrow.
            return Some(index * 8 + hit.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| matches!(b, b'"' | b'\\')).map(|index| words.len() * 8 + index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    fn split_at(json: &[u8], cuts: &[usize]) -> (Vec<String>, Result<ListMeta, SplitError>) {
        let mut splitter = Splitter::new();
        let mut items = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([json.len()]) {
            if let Err(error) = splitter.push(&json[from..to], |item| items.push(String::from_utf8_lossy(item).into()))
            {
                return (items, Err(error));
            }
            from = to;
        }
        (items, splitter.finish())
    }

    fn split(json: &str) -> (Vec<String>, Result<ListMeta, SplitError>) {
        split_at(json.as_bytes(), &[])
    }

    const SAMPLE: &str = r#" {"kind":"PodList", "we\"ird\\":{"items":[1]},
        "items" : [ {"a":"}]\"\\","b":[1,{"c":null}]} , {"long":"0123456789abcdefghij\u00e9é"},
        "text, \"]\"", -1.5e3, null,[], {} ],"n":12 ,"t":true,
        "metadata":{"resourceVersion":"7","continue":"abc\"=="}} "#;

    fn sample_items() -> Vec<String> {
        [
            r#"{"a":"}]\"\\","b":[1,{"c":null}]}"#,
            r#"{"long":"0123456789abcdefghij\u00e9é"}"#,
            r#""text, \"]\"""#,
            "-1.5e3",
            "null",
            "[]",
            "{}",
        ]
        .map(String::from)
        .into()
    }

    #[test]
    fn every_chunk_boundary_gives_the_same_items() {
        let bytes = SAMPLE.as_bytes();
        for cut in 0..=bytes.len() {
            for second in [cut, (cut + 1).min(bytes.len()), (cut + 9).min(bytes.len())] {
                let (items, end) = split_at(bytes, &[cut, second]);
                assert_eq!(items, sample_items(), "cut at {cut} and {second}");
                assert_eq!(end.unwrap().continue_token.as_deref(), Some("abc\"=="), "cut at {cut} and {second}");
            }
        }
        let each: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(split_at(bytes, &each).0, sample_items());
    }

    #[test]
    fn every_truncation_is_noticed_and_keeps_whole_items() {
        let text = SAMPLE.trim_end();
        for end in 0..text.len() {
            let (items, result) = split_at(&text.as_bytes()[..end], &[]);
            assert!(sample_items().starts_with(&items), "cut at {end}");
            let wanted = if text.as_bytes()[..end].iter().all(u8::is_ascii_whitespace) {
                SplitError::NotAnObject
            } else {
                SplitError::Truncated
            };
            assert_eq!(result, Err(wanted), "cut at {end}");
        }
    }

    #[test]
    fn key_order_does_not_matter() {
        let (items, end) = split(r#"{"metadata":{"continue":"x"},"items":[{"a":1}],"apiVersion":"v1"}"#);
        assert_eq!(items, [r#"{"a":1}"#]);
        assert_eq!(end.unwrap().continue_token.as_deref(), Some("x"));
    }

    #[test]
    fn an_empty_list_is_a_list() {
        for json in [r#"{"items":[]}"#, r#"{"items":null}"#, r#"{"items":[],"metadata":{"continue":""}}"#] {
            assert_eq!(split(json), (vec![], Ok(ListMeta::default())), "{json}");
        }
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        for (json, error) in [
            ("", SplitError::NotAnObject),
            ("[]", SplitError::NotAnObject),
            ("<html>", SplitError::NotAnObject),
            ("{}", SplitError::NotAList),
            (r#"{"kind":"Status","metadata":{}}"#, SplitError::NotAList),
            (r#"{"items":7}"#, SplitError::NotAList),
            (r#"{"items":{"a":1}}"#, SplitError::NotAList),
            (r#"{"items":"null"}"#, SplitError::NotAList),
            (r#"{"items":[]} x"#, SplitError::Garbage(13)),
            (r#"{"items":[,]}"#, SplitError::Garbage(10)),
            (r#"{"items" []}"#, SplitError::Garbage(9)),
            (r#"{"items":[{}{}]}"#, SplitError::Garbage(12)),
            (r#"{"items":[{},]}"#, SplitError::Garbage(13)),
            (r#"{items:[]}"#, SplitError::Garbage(1)),
            (r#"{"items":[],}"#, SplitError::Garbage(12)),
            (r#"{"a":?}"#, SplitError::Garbage(5)),
        ] {
            assert_eq!(split(json).1, Err(error), "{json}");
        }
    }

    #[test]
    fn only_the_top_level_items_count() {
        let (items, end) = split(r#"{"x":{"items":[{"no":1}]},"y":"\"items\":[2]","items":[3]}"#);
        assert_eq!(items, ["3"]);
        assert!(end.is_ok());
    }

    #[test]
    fn a_giant_item_is_skipped_and_counted() {
        let json = r#"{"items":[{"a":1},{"b":"0123456789012345678901234567890"},{"c":3}]}"#;
        for step in [1, 3, 7, json.len()] {
            let mut splitter = Splitter { item_cap: 16, ..Splitter::new() };
            let mut items = Vec::new();
            for chunk in json.as_bytes().chunks(step) {
                splitter.push(chunk, |item| items.push(item.to_vec())).unwrap();
            }
            assert_eq!(items, [b"{\"a\":1}", b"{\"c\":3}"], "step {step}");
            assert_eq!(splitter.finish().unwrap().oversized, 1, "step {step}");
        }
    }

    #[test]
    fn the_fast_search_agrees_with_the_slow_one() {
        let alphabet = [b'a', b'"', b'\\', 0x21, 0x23, 0x5b, 0x5d, 0xa2, 0xdc, 0x00, 0xff, 0x01, 0x80];
        let mut seed = 7_u32;
        for length in 0..40 {
            for _ in 0..200 {
                let bytes: Vec<u8> = (0..length)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        // Mostly ordinary letters, so that hits lie at every distance.
                        if seed >> 28 < 13 { b'x' } else { alphabet[(seed >> 16) as usize % alphabet.len()] }
                    })
                    .collect();
                let slow = bytes.iter().position(|b| matches!(b, b'"' | b'\\'));
                assert_eq!(quote_or_backslash(&bytes), slow, "{bytes:?}");
            }
        }
    }
}
