//! The tokens of the text form, and where they stand.

use super::ParseError;

/// A token; words and numbers borrow from the text.
#[derive(Debug, Clone, PartialEq)]
pub enum Token<'a> {
    /// One of `{ } ( ) [ ] = : ,`.
    Mark(char),
    /// `%12`.
    Value(u32),
    /// A run of letters, digits, `_` and `.` that starts with a letter or `_`.
    Word(&'a str),
    /// A run of letters, digits, `_`, `.`, `+` and `-` that starts with a digit or `-`.
    Number(&'a str),
    /// A quoted string, unescaped.
    Text(String),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Mark(mark) => format!("`{mark}`"),
            Self::Value(value) => format!("`%{value}`"),
            Self::Word(word) | Self::Number(word) => format!("`{}`", shorten(word)),
            Self::Text(text) => format!("the name \"{}\"", shorten(&text.escape_debug().to_string())),
            Self::End => "the end of the text".into(),
        }
    }
}

/// The first characters of something that may be long, for a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Reads tokens one by one.
#[derive(Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    /// The byte at which the next token is looked for.
    next: usize,
    /// The byte at which the last token starts.
    start: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, next: 0, start: 0 }
    }

    /// Where the last token starts, in bytes.
    pub fn start(&self) -> usize {
        self.start
    }

    /// An error at a byte of the text; lines and columns (in characters) count from 1.
    pub fn error(&self, at: usize, message: impl Into<String>) -> ParseError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ParseError {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        }
    }

    /// The byte right after the last token, if it is one of `(` and `[`.
    pub fn adjacent_bracket(&self) -> Option<u8> {
        self.text.as_bytes().get(self.next).copied().filter(|byte| matches!(byte, b'(' | b'['))
    }

    /// The last token, a word, together with the brackets right after it: `clip(0,6)`, `f32[N,3]`.
    pub fn word_with_arguments(&mut self) -> Result<&'a str, ParseError> {
        let close = match self.adjacent_bracket() {
            Some(b'(') => b')',
            Some(_) => b']',
            None => return Ok(&self.text[self.start..self.next]),
        };
        let rest = &self.text.as_bytes()[self.next..];
        let length = rest.iter().take_while(|byte| **byte != b'\n').position(|byte| *byte == close);
        let Some(length) = length else {
            return Err(self.error(self.next, format!("expected a closing `{}` on this line", char::from(close))));
        };
        self.next += length + 1;
        Ok(&self.text[self.start..self.next])
    }

    /// The next token.
    ///
    /// # Errors
    /// At a character that starts none, an unterminated string, or an unknown escape.
    pub fn token(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_space();
        self.start = self.next;
        let bytes = self.text.as_bytes();
        let Some(first) = bytes.get(self.start).copied() else { return Ok(Token::End) };
        match first {
            b'{' | b'}' | b'(' | b')' | b'[' | b']' | b'=' | b':' | b',' => {
                self.next += 1;
                Ok(Token::Mark(char::from(first)))
            }
            b'%' => {
                self.next += 1;
                let digits = self.run(|byte| byte.is_ascii_digit());
                let value =
                    digits.parse().map_err(|_| self.error(self.start, "expected `%` and a number below 2³²"))?;
                Ok(Token::Value(value))
            }
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => {
                Ok(Token::Number(self.run(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte))))
            }
            b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                Ok(Token::Word(self.run(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))))
            }
            _ => {
                let found = self.text[self.start..].chars().next().unwrap_or_default();
                Err(self.error(self.start, format!("the character {found:?} stands outside of a name")))
            }
        }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.next) {
            if byte.is_ascii_whitespace() {
                self.next += 1;
            } else if bytes[self.next..].starts_with(b"//") {
                let rest = &bytes[self.next..];
                self.next += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            } else {
                return;
            }
        }
    }

    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let from = self.next;
        let bytes = &self.text.as_bytes()[from..];
        let length = bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len());
        self.next += length;
        &self.text[from..self.next]
    }

    fn string(&mut self) -> Result<Token<'a>, ParseError> {
        let unterminated = || self.error(self.start, "expected a closing `\"` on this line");
        let mut text = String::new();
        let mut chars = self.text[self.start + 1..].char_indices();
        while let Some((at, found)) = chars.next() {
            match found {
                '"' => {
                    self.next = self.start + 1 + at + 1;
                    return Ok(Token::Text(text));
                }
                '\n' => break,
                '\\' => {
                    let at = self.start + 1 + at;
                    let wrong = || self.error(at, "expected an escape: \\\" \\\\ \\' \\n \\r \\t \\0 \\u{HEX}");
                    match chars.next().ok_or_else(unterminated)?.1 {
                        found @ ('"' | '\\' | '\'') => text.push(found),
                        'n' => text.push('\n'),
                        'r' => text.push('\r'),
                        't' => text.push('\t'),
                        '0' => text.push('\0'),
                        'u' => {
                            let (hex, _) = chars
                                .as_str()
                                .strip_prefix('{')
                                .and_then(|rest| rest.split_once('}'))
                                .ok_or_else(wrong)?;
                            let code = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
                            text.push(code.ok_or_else(wrong)?);
                            // The braces and the digits, all of one byte.
                            chars.nth(hex.len() + 1);
                        }
                        _ => return Err(wrong()),
                    }
                }
                _ => text.push(found),
            }
        }
        Err(unterminated())
    }
}

/// Writes a name in quotes so that the lexer reads it back.
pub fn quote(out: &mut String, name: &str) {
    out.push('"');
    for found in name.chars() {
        match found {
            '\'' => out.push(found),
            _ => out.extend(found.escape_debug()),
        }
    }
    out.push('"');
}
