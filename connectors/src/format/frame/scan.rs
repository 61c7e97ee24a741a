//! The search for the end of a record, which goes on where it stopped.

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a field, the only place where a quote opens.
    Start,
    /// Inside a field that is not quoted, or behind the quote that closed one.
    Plain,
    /// Inside quotes.
    Quoted,
    /// Behind a quote inside quotes, which closes them unless another one follows.
    Quote,
    /// Behind such a quote and a carriage return, which belongs to the line end.
    Return,
    /// Behind a quote inside quotes that neither closes them nor is doubled; the line alone is a record, which whoever
    /// splits it refuses.
    Broken,
}

/// Where the search stands.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// The delimiter between fields, if quotes count.
    delimiter: Option<u8>,
    state: State,
    /// How many bytes have been searched.
    at: usize,
}

impl Scan {
    pub(super) fn new(delimiter: Option<u8>) -> Self {
        Self { delimiter, state: State::Start, at: 0 }
    }

    #[inline]
    pub(super) fn restart(&mut self) {
        (self.state, self.at) = (State::Start, 0);
    }

    pub(super) fn in_quotes(&self) -> bool {
        self.state == State::Quoted
    }

    /// Finds the line feed that ends the record; `window` begins with the record and has only grown.
    ///
    /// If a quote inside quotes is followed by anything but another quote, a delimiter or a line end (RFC 4180, section
    /// 2, rules 5 to 7), the quotes were not opened where they seemed to be: the record is then its first line.
    #[inline]
    pub(super) fn find_end(&mut self, window: &[u8]) -> Option<usize> {
        let Some(delimiter) = self.delimiter else {
            let found = memchr::memchr(b'\n', &window[self.at..]).map(|end| self.at + end);
            self.at = window.len();
            return found;
        };
        self.find_unquoted(delimiter, window)
    }

    fn find_unquoted(&mut self, delimiter: u8, window: &[u8]) -> Option<usize> {
        while self.at < window.len() {
            let byte = window[self.at];
            match self.state {
                State::Start if byte == b'"' => self.state = State::Quoted,
                // A file may begin with a mark, and the first field behind it with a quote.
                State::Start if BYTE_ORDER_MARK.get(self.at) == Some(&byte) => {}
                State::Quoted => {
                    let Some(quote) = memchr::memchr(b'"', &window[self.at..]) else {
                        self.at = window.len();
                        return None;
                    };
                    self.at += quote;
                    self.state = State::Quote;
                }
                State::Quote if byte == b'"' => self.state = State::Quoted,
                State::Quote if byte == b'\r' => self.state = State::Return,
                State::Quote if byte == delimiter => self.state = State::Start,
                State::Quote | State::Return if byte == b'\n' => return Some(self.at),
                State::Quote | State::Return => {
                    self.state = State::Broken;
                    if let Some(end) = memchr::memchr(b'\n', &window[..self.at]) {
                        return Some(end);
                    }
                    // What the field goes on with may itself be anything.
                    continue;
                }
                State::Broken => {
                    let end = memchr::memchr(b'\n', &window[self.at..]).map(|end| self.at + end);
                    self.at = end.unwrap_or(window.len());
                    return end;
                }
                State::Start | State::Plain => {
                    let Some(next) = memchr::memchr2(delimiter, b'\n', &window[self.at..]) else {
                        self.at = window.len();
                        self.state = State::Plain;
                        return None;
                    };
                    self.at += next;
                    if window[self.at] == b'\n' {
                        return Some(self.at);
                    }
                    self.state = State::Start;
                }
            }
            self.at += 1;
        }
        None
    }
}
