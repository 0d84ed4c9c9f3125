//! Ages as kubectl prints them: two units where the second one still matters.

use jiff::SignedDuration;

/// `45s`, `4m30s`, `12m`, `5h10m`, `26h`, `5d3h`, `40d`.
#[must_use]
pub fn words(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: char, rest: i64, small: char| {
        if rest == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{rest}{small}") }
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_as_many_units_as_matter() {
        for (seconds, text) in [
            (-5, "0s"),
            (45, "45s"),
            (119, "119s"),
            (240, "4m"),
            (270, "4m30s"),
            (720, "12m"),
            (18_600, "5h10m"),
            (93_600, "26h"),
            (442_800, "5d3h"),
            (3_456_000, "40d"),
        ] {
            assert_eq!(words(SignedDuration::from_secs(seconds)), text);
        }
    }
}
