//! Lines of several streams in the order of their times.
//!
//! A stream that is followed may be silent for hours, so that waiting for its next line would hold back all others: a line
//! that has waited long enough goes out without it.

use std::collections::VecDeque;

use jiff::Timestamp;

/// One line on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed<T> {
    /// Which stream it came from.
    pub stream: usize,
    /// Its time; that of the line before where it has none of its own.
    pub time: Option<Timestamp>,
    /// When it arrived, on any clock that only goes forward, in milliseconds.
    pub arrived: u64,
    /// How many bytes it takes.
    pub size: usize,
    /// The line.
    pub line: T,
}

struct Stream<T> {
    waiting: VecDeque<Timed<T>>,
    bytes: usize,
    last: Option<Timestamp>,
    open: bool,
}

/// The lines that wait.
pub struct Merge<T> {
    streams: Vec<Stream<T>>,
}

impl<T> Merge<T> {
    /// Begins with so many streams, all of them open.
    #[must_use]
    pub fn new(streams: usize) -> Self {
        let stream = || Stream { waiting: VecDeque::new(), bytes: 0, last: None, open: true };
        Self { streams: (0..streams).map(|_| stream()).collect() }
    }

    /// Takes a line of a stream. One without a time stays behind the line before it.
    pub fn push(&mut self, stream: usize, time: Option<Timestamp>, arrived: u64, size: usize, line: T) {
        let Some(place) = self.streams.get_mut(stream) else { return };
        place.last = time.or(place.last);
        let time = place.last;
        place.bytes = place.bytes.saturating_add(size);
        place.waiting.push_back(Timed { stream, time, arrived, size, line });
    }

    /// Nothing more comes of a stream.
    pub fn close(&mut self, stream: usize) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.open = false;
        }
    }

    /// Whether a stream holds so many lines, or bytes of lines, already that others should come first.
    #[must_use]
    pub fn is_ahead(&self, stream: usize, lines: usize, bytes: usize) -> bool {
        self.streams.get(stream).is_some_and(|stream| stream.waiting.len() >= lines || stream.bytes >= bytes)
    }

    /// The next line: the oldest, once every open stream has one, or once it arrived before `patience`.
    pub fn pop(&mut self, patience: u64) -> Option<Timed<T>> {
        let all_known = self.streams.iter().all(|stream| !stream.open || !stream.waiting.is_empty());
        let heads =
            self.streams.iter().enumerate().filter_map(|(index, stream)| Some((index, stream.waiting.front()?)));
        let (index, head) = heads.min_by_key(|(index, head)| (head.time, *index))?;
        if !all_known && head.arrived >= patience {
            return None;
        }
        let stream = &mut self.streams[index];
        let next = stream.waiting.pop_front()?;
        stream.bytes = stream.bytes.saturating_sub(next.size);
        Some(next)
    }

    /// Whether nothing waits and nothing comes.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.streams.iter().all(|stream| !stream.open && stream.waiting.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(1_784_000_000 + second).unwrap())
    }

    fn drain(merge: &mut Merge<&'static str>, patience: u64) -> Vec<&'static str> {
        std::iter::from_fn(|| merge.pop(patience)).map(|timed| timed.line).collect()
    }

    #[test]
    fn the_oldest_goes_first_once_every_stream_is_known() {
        let mut merge = Merge::new(3);
        merge.push(0, at(1), 0, 9, "a1");
        merge.push(0, at(4), 0, 9, "a4");
        merge.push(1, at(2), 0, 9, "b2");
        assert_eq!(drain(&mut merge, 0), [""; 0], "the third may have an older one");
        merge.push(2, at(3), 0, 9, "c3");
        assert_eq!(drain(&mut merge, 0), ["a1", "b2"], "the second may go on before the others");
        merge.close(1);
        assert_eq!(drain(&mut merge, 0), ["c3"]);
        merge.close(0);
        merge.close(2);
        assert_eq!(drain(&mut merge, 0), ["a4"]);
        assert!(merge.is_done());
    }

    #[test]
    fn a_silent_stream_holds_nobody_back_for_long() {
        let mut merge = Merge::new(2);
        merge.push(0, at(2), 100, 9, "a2");
        assert_eq!(drain(&mut merge, 100), [""; 0]);
        merge.push(1, at(1), 110, 9, "b1");
        assert_eq!(drain(&mut merge, 100), ["b1"]);
        assert_eq!(drain(&mut merge, 101), ["a2"]);
    }

    #[test]
    fn a_stream_is_ahead_by_lines_or_by_bytes_until_they_are_given_out() {
        let mut merge = Merge::new(2);
        merge.push(0, at(1), 0, 600, "a1");
        assert!(!merge.is_ahead(0, 2, 1000) && merge.is_ahead(0, 1, 1000) && merge.is_ahead(0, 2, 600));
        merge.push(0, at(3), 0, 600, "a3");
        assert!(merge.is_ahead(0, 9, 1000) && !merge.is_ahead(1, 9, 1000) && !merge.is_ahead(7, 9, 1000));
        merge.push(1, at(2), 0, 1, "b2");
        assert_eq!(drain(&mut merge, 0), ["a1", "b2"]);
        assert!(!merge.is_ahead(0, 9, 1000));
    }

    #[test]
    fn a_line_without_a_time_stays_behind_its_own() {
        let mut merge = Merge::new(2);
        merge.push(0, at(1), 0, 9, "a1");
        merge.push(0, None, 0, 9, "a1, second half");
        merge.push(1, at(2), 0, 9, "b2");
        merge.close(0);
        merge.close(1);
        assert_eq!(drain(&mut merge, 0), ["a1", "a1, second half", "b2"]);
    }
}
