//! INCRBYFLOAT, and the arithmetic that its answers are known by: that of x87, with 64 bits of
//! mantissa, rounded to the nearest. `0.1` and `0.2` are `0.3` there, and not in [`f64`].

use super::args::Request;
use super::reply::Out;
use super::{KeyCommand, Ran};
use crate::config::NotifyFlags;
use crate::error::CommandError;
use crate::keyspace::Txn;

/// `INCRBYFLOAT key increment`
///
/// Adds to the number that the string is, 0 if the key is missing, and answers the sum as it is
/// kept: with at most 17 digits after the point. The expiry stays. Event `incrbyfloat`; one change.
/// **Limits**: numbers below 2^127. Redis 8.10.
#[derive(Debug, Clone, Copy)]
pub struct IncrByFloat<'a> {
    key: &'a [u8],
    by: &'a [u8],
}

impl<'a> KeyCommand<'a> for IncrByFloat<'a> {
    fn parse(request: &Request<'a>) -> Result<Self, CommandError> {
        Ok(IncrByFloat { key: request.arg(1), by: request.arg(2) })
    }

    fn run(&self, txn: &mut Txn<'_, '_>, out: &mut Out<'_>) -> Result<Ran, CommandError> {
        let mut key = txn.key(self.key);
        let number = Float::parse(txn.string(&key)?.unwrap_or(b"0"))?;
        let sum = number.plus(Float::parse(self.by)?).text()?;
        let expire_at = txn.expiry(&key);
        txn.set_string(&mut key, sum.as_bytes(), expire_at);
        txn.event(NotifyFlags::STRING, "incrbyfloat", &key);
        txn.count_changes(1);
        out.bulk(sum.as_bytes());
        Ok(Ran::Replied)
    }
}

const INVALID: CommandError = CommandError::Fixed("ERR value is not a valid float");
const INFINITE: CommandError = CommandError::Fixed("ERR increment would produce NaN or Infinity");

/// The longest text of a number, in bytes.
const TEXT_MAX: usize = 255;
/// The greatest power of ten in a `u128`.
const POWER_MAX: u32 = 38;
/// Digits after the point that are kept.
const FRACTION_DIGITS: u32 = 17;

/// `mantissa * 2^exponent`, negative or not; the highest bit of the mantissa is set unless it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Float {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

impl Float {
    /// The nearest to `value * 2^exponent`, or if `more` to a little more than that; of two as near
    /// the even one.
    fn nearest(negative: bool, value: u128, exponent: i32, more: bool) -> Self {
        let zeros = value.leading_zeros();
        if zeros == u128::BITS {
            return Float { negative: false, mantissa: 0, exponent: 0 };
        }
        // The mantissa in the upper half, and what it lacks in the lower one.
        let value = value << zeros;
        let exponent = exponent + 64 - i32::try_from(zeros).unwrap_or_default();
        let (upper, lower) = (value >> 64, value & u128::from(u64::MAX));
        let half = 1_u128 << 63;
        let up = lower > half || (lower == half && (more || upper & 1 == 1));
        match u64::try_from(upper + u128::from(up)) {
            Ok(mantissa) => Float { negative, mantissa, exponent },
            Err(_) => Float { negative, mantissa: 1 << 63, exponent: exponent + 1 },
        }
    }

    /// Reads digits with a sign, a point, and a power of ten.
    fn parse(text: &[u8]) -> Result<Self, CommandError> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] | digits => (false, digits),
        };
        if [&b"inf"[..], b"infinity"].iter().any(|word| digits.eq_ignore_ascii_case(word)) {
            return Err(INFINITE);
        }
        let (value, power, more) = Float::decimal(digits).ok_or(INVALID)?;
        if text.len() > TEXT_MAX {
            return Err(INVALID);
        }
        if power >= 0 {
            let factor = 10_u128.checked_pow(power.unsigned_abs());
            let value = factor.and_then(|factor| value.checked_mul(factor));
            let value = if value == Some(0) { Some(0) } else { value };
            return Ok(Float::nearest(negative, value.ok_or(INFINITE)?, 0, more));
        }
        Ok(Float::quotient(negative, value, power.unsigned_abs(), more))
    }

    /// The digits of a number, the power of ten they are to be multiplied with, and whether there
    /// are more digits that are not zeros.
    fn decimal(text: &[u8]) -> Option<(u128, i32, bool)> {
        let end = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
        let (digits, exponent) = text.split_at(end.unwrap_or(text.len()));
        let (mut value, mut power, mut more) = (0_u128, 0_i32, false);
        let (mut point, mut any) = (false, false);
        for byte in digits {
            match byte {
                b'.' if !point => point = true,
                b'0'..=b'9' => {
                    any = true;
                    let digit = u128::from(byte - b'0');
                    let fits = value < 10_u128.pow(POWER_MAX - 1);
                    value = if fits { value * 10 + digit } else { value };
                    more |= !fits && digit != 0;
                    power += i32::from(!fits) - i32::from(point);
                }
                _ => return None,
            }
        }
        if let [_, exponent @ ..] = exponent {
            let exponent = exponent.strip_prefix(b"+").unwrap_or(exponent);
            let exponent: i32 = std::str::from_utf8(exponent).ok()?.parse().ok()?;
            power = power.saturating_add(exponent);
        }
        any.then_some((value, if value == 0 { 0 } else { power }, more))
    }

    /// The nearest to `value / 10^power`.
    fn quotient(negative: bool, value: u128, power: u32, mut more: bool) -> Self {
        // What is below 10^-38 shows in no answer: it only tells between two that are as near.
        let beyond = power.saturating_sub(POWER_MAX);
        let cut = 10_u128.checked_pow(beyond);
        more |= cut.is_none_or(|cut| !value.is_multiple_of(cut));
        let value = cut.map_or(0, |cut| value / cut);
        let divisor = 10_u128.pow(power.min(POWER_MAX));
        let (mut quotient, mut rest) = (value / divisor, value % divisor);
        let mut exponent = 0;
        while rest != 0 && quotient.leading_zeros() > 60 {
            rest *= 2;
            quotient = quotient * 2 + rest / divisor;
            rest %= divisor;
            exponent -= 1;
        }
        Float::nearest(negative, quotient, exponent, more || rest != 0)
    }

    /// The sum.
    fn plus(self, other: Float) -> Self {
        if self.mantissa == 0 || (other.mantissa != 0 && self.exponent < other.exponent) {
            return if self.mantissa == 0 { other } else { other.plus(self) };
        }
        // Two bits are free above the larger one, and 62 below it for the smaller one.
        const ROOM: u32 = 62;
        let apart = self.exponent.abs_diff(other.exponent);
        let shift = if other.mantissa == 0 { 0 } else { apart.min(ROOM) };
        let larger = u128::from(self.mantissa) << shift;
        let smaller = u128::from(other.mantissa);
        let lost = apart - shift;
        let below = smaller.checked_shr(lost).unwrap_or(0);
        let more = lost > 0 && below.checked_shl(lost) != Some(smaller);
        let exponent = self.exponent - i32::try_from(shift).unwrap_or_default();
        if self.negative == other.negative {
            return Float::nearest(self.negative, larger + below, exponent, more);
        }
        let below = below + u128::from(more);
        if larger >= below {
            return Float::nearest(self.negative, larger - below, exponent, more);
        }
        Float::nearest(other.negative, below - larger, exponent, false)
    }

    /// Its digits: 17 after the point, without zeros at the end.
    fn text(self) -> Result<String, CommandError> {
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            let shift = self.exponent.unsigned_abs();
            let whole = u128::from(self.mantissa);
            let whole = Some(whole << shift.min(63)).filter(|_| shift <= 63).ok_or(INFINITE)?;
            return Ok(format!("{sign}{whole}"));
        }
        let unit = 10_u128.pow(FRACTION_DIGITS);
        let scaled = u128::from(self.mantissa) * unit;
        let shift = self.exponent.unsigned_abs();
        let (mut digits, mut rest, mut half) = (0, scaled, u128::MAX);
        if shift < u128::BITS {
            digits = scaled >> shift;
            rest = scaled - (digits << shift);
            half = 1 << (shift - 1);
        }
        digits += u128::from(rest > half || (rest == half && digits & 1 == 1));
        if digits == 0 {
            return Ok("0".to_owned());
        }
        let fraction = format!("{:017}", digits % unit);
        let text = format!("{sign}{}.{fraction}", digits / unit);
        Ok(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::world;
    use super::*;

    #[test]
    fn sums_are_those_of_sixty_four_bits() {
        // As Redis 8.6 gives them on x86.
        for (a, b, sum) in [
            ("0", "0", "0"),
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "-3.0", "0"),
            ("-0", "-0.0", "0"),
            (".5", "5.", "5.5"),
            ("1e-20", "0", "0"),
            ("-1e-20", "0", "0"),
            ("1", "1e-40", "1"),
            ("-59.0000000000000000000000000000000000000000000001", "60", "1"),
            ("859732.69863867575711399511513219101", "-1e3", "858732.69863867575713812"),
        ] {
            let sum_of = |a: &str, b: &str| {
                Float::parse(a.as_bytes()).unwrap().plus(Float::parse(b.as_bytes()).unwrap())
            };
            assert_eq!(sum_of(a, b).text().unwrap(), sum, "{a} + {b}");
            assert_eq!(sum_of(b, a).text().unwrap(), sum, "{b} + {a}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " 1", "1 ", "x", "-", "+", ".", "1e", "e1", "1.2.3", "--1", "nan", "1e1x"]
        {
            assert_eq!(Float::parse(text.as_bytes()), Err(INVALID), "{text}");
        }
        let long = "0".repeat(TEXT_MAX) + "1";
        assert_eq!(Float::parse(long.as_bytes()), Err(INVALID));
        for text in ["inf", "-Infinity", "1e40", "1e2147483647"] {
            assert_eq!(Float::parse(text.as_bytes()), Err(INFINITE), "{text}");
        }
        assert_eq!(Float::parse(b"0e99999").unwrap().text().unwrap(), "0");
        assert_eq!(Float::parse(b"1e-2147483648").unwrap().text().unwrap(), "0");
    }

    #[test]
    fn a_number_in_a_key_grows_by_a_fraction() {
        let mut world = world();
        world.run("XADD s 1-1 f v");
        world.events();
        world.changes();
        world.script(&[
            ("INCRBYFLOAT k 1.5", "1.5"),
            ("EXPIRE k 10", "1"),
            ("INCRBYFLOAT k 1.5", "3"),
            ("INCR k", "4"),
            ("INCRBYFLOAT k -0.25", "3.75"),
            ("TTL k", "10"),
            ("INCR k", "-ERR value is not an integer or out of range"),
            ("INCRBYFLOAT k x", "-ERR value is not a valid float"),
            ("INCRBYFLOAT k inf", "-ERR increment would produce NaN or Infinity"),
            (
                "INCRBYFLOAT s x",
                "-WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
        ]);
        let events = ["new k", "incrbyfloat k", "expire k", "incrbyfloat k", "incrby k"];
        assert_eq!(world.events()[..5], events);
        assert_eq!(world.changes(), 5);
    }
}
