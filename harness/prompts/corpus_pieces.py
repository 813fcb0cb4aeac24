"""The pieces that the tokenizer corpus is made of, written for it."""

from __future__ import annotations

from typing import Final

WORDS: Final = (
    "pump", "Filter", "error", "valve", "E4", "drain", "motor", "heating", "don't", "water", "restart", "LED", "x", "y2",
    "temperature", "Caf\u00e9", "sensor", "max_value", "reset", "quickly", "unplugged", "I", "a", "of", "the",
)  # fmt: skip

NAMES: Final = (
    "x",
    "i",
    "data",
    "self.value",
    "MAX_SIZE",
    "fooBar",
    "_tmp",
    "items[0]",
    "n2",
    "get_name()",
    "ptr->next",
)

STATEMENTS: Final = (
    "def {a}({b}, *args, **kwargs):", "if {a} == {b}:", "for {a} in range({b}):", "while (!{a} && {b} != 0) {{",
    "return {a} + {b}", "{a} = {b}[1:-1]", "{a} += 0x1F;", "}}", "else:", "// TODO: {a}?", "# {a} -> {b}", "/* {a} */",
    'printf("%d\\n", {a});', "let {a} = {b} ?? null;", "fn {a}<'a>(x: &'a str) -> Option<{b}> {{", "@property",
    "SELECT {a}, COUNT(*) FROM t WHERE {b} >= 10;", "raise ValueError(f\"{a}: {{{b}!r}}\")", "try:", "import {a}",
    "<div class=\"{a}\">{b}</div>", "{a}: {b}", "public static void {a}(String[] {b}) {{", "echo \"${{{a}}}\" | grep -v {b}",
    "case {a}: break;", "async with {a} as {b}:", "lambda {a}: {b} ** 2", "{a} <<= 3; {b} ^= ~{a};",
)  # fmt: skip

CODE: Final = (
    "def f(x):\n    if x > 0:\n        return x\n\n    return -x\n",
    "class A:\n    \n    def b(self):\n        pass\n\n\n    def c(self): ...\n",
    "for (int i = 0; i < n; ++i) { a[i] += b[i] * 2; } // ok?!",
    "\tint x;\n\t\tif (x)\n\t\t\treturn;\n",
    '{"status": "ok", "part": "filter", "steps": [1, 2, 3], "more": {"a": null, "b": true}}',
    '{\n  "a": [\n    1,\n    2\n  ],\n  "b": {}\n}',
    "a:\n  - b\n  - c: 1\n    d: |\n      text\n\n      more\n",
    '#!/bin/sh\nset -eu\ncd "$HOME" && ls -la | wc -l > /dev/null 2>&1\n',
    'x = {i: i**2 for i in range(10) if i % 2}\nprint(f"{x!r:>10}")',
    "SELECT *\nFROM   a\n  JOIN b ON a.id = b.id\nWHERE  a.x IS NOT NULL;",
    "<html>\n  <body>\n    <p>a &amp; b</p>\n  </body>\n</html>",
    "if (a) {\r\n    b();\r\n}\r\n",
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\dir\\file.txt /var/log/../x.log",
    "diff --git a/x b/x\n@@ -1,3 +1,4 @@\n-old\n+new\n \n same",
    "x=1;y=2;z=x+y;;if(z){}else{}",
    "    leading = 4\n  leading = 2\n        leading = 8",
)

PROSE: Final = (
    "Error E4: the drain pump is blocked.",
    "The pump runs, but no water leaves the machine; clean the filter and try again.",
    "isn't it's we'll I'd THEY'RE don\u2019t o'clock 'tis y'all'd've",
    "\u201cDon\u2019t open the door,\u201d she said \u2014 \u2018not yet\u2019.",
    "Mr. Smith (aged 47) paid \u20ac3.50 for 2 kg of apples on 3/4/2026 at 5:30 p.m.",
    "ALL CAPS, Title Case, camelCase, snake_case, kebab-case and mIxEd cAsE.",
    'What? No! Really?! Well... yes; I think so: "perhaps".',
    "A very-long-hyphenated-word and an ultramicroscopicsilicovolcanoconiosis.",
    " leading, trailing ",
    "Yours sincerely,\n\nThe Team\n",
    "1. Switch it off.\n2. Wait a minute.\n3. Switch it on again.",
    "Temperature: 60\u00b0C \u00b1 5 %, pressure \u2264 3 bar, \u00bd turn to the left.",
    "The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX.",
    "Press OK.Then wait.And go on,please.",
)

LANGUAGES: Final = {
    "English": "the machine stops when water does not drain and shows a number on its small display today",
    "German": "die Maschine h\u00e4lt an wenn das Wasser nicht abl\u00e4uft und zeigt gr\u00f6\u00dfere Zahlen \u00fcber Stra\u00dfen",
    "French": "la machine s'arr\u00eate lorsque l'eau ne s'\u00e9coule pas c'est tr\u00e8s g\u00eanant \u00e7a no\u00ebl o\u00f9 h\u00e9las",
    "Spanish": "la m\u00e1quina se detiene cuando el agua no sale ma\u00f1ana ping\u00fcino coraz\u00f3n \u00bfqu\u00e9 \u00a1ay",
    "Polish": "pralka zatrzymuje si\u0119 gdy woda nie sp\u0142ywa \u017c\u00f3\u0142\u0107 ja\u017a\u0144 \u015bnieg",
    "Turkish": "makine su bo\u015falmad\u0131\u011f\u0131nda durur \u0130stanbul \u0131\u015f\u0131k \u00e7ocuk",
    "Vietnamese": "m\u00e1y d\u1eebng khi n\u01b0\u1edbc kh\u00f4ng tho\u00e1t \u0111\u01b0\u1ee3c Ti\u1ebfng Vi\u1ec7t",
}  # fmt: skip

RUNS: Final = (
    "\n", "\n\n", "\n\n\n", "\n\n\n\n", " ", "  ", "   ", "    ", "\t", "\t\t", "\r\n", "\r\n\r\n", " \n", "\n ", "\n \n",
    "a\nb", "a\n\nb", "a\n\n\nb", "a\n \nb", "a\n \n  b", "a\n  \n    b", "a \n b", "a  b", "a   b", "a    b", "a \tb",
    "two  three   four    spaces\ttab\t\ttabs\nline\n\nlines\r\nreturn\n \n  indented",
    "  both  ", "\ttab\t", "\n both \n", " a", "  a", "   a", "a ", "a  ", "a   ", "\u00a0a", "a\u3000b", "a\u2028b", "a\u200bb",
)  # fmt: skip

NUMBERS: Final = (
    "0 1 12 123 1234 12345 1234567890 3.14159 -2 1,000,000.00 1e-9 0x7F",
    "1st 2nd 3rd 4th 10x 4K 5G H2O B12", "2026-11-26T14:30:00Z", "14:30:05.123", "+49 (0)30 123456-7", "192.168.0.1:8080",
    "v1.2.3-rc.4+build.5", "10^-3 2**10 5! 3\u00b2 x\u2081 \u2153 \u216b", "\u0661\u0662\u0663 \u0967\u0968\u0969 \uff11\uff12\uff13", "1 000 000,50",
    "00000001 0001 007", "3.14.15.92", "1/2 3/4 7/8", "100%", "$1,299.99", "-0.0", "NaN inf 1E+10",
)  # fmt: skip

SCRIPTS: Final = (
    "caf\u00e9 na\u00efve \u00dcbergr\u00f6\u00dfe \u0141\u00f3d\u017a \u00e7a \u0130stanbul",
    "cafe\u0301 nai\u0308ve U\u0308bergro\u0308\u00dfe",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043a\u0430\u043a \u0434\u0435\u043b\u0430? \u041e\u0448\u0438\u0431\u043a\u0430 E4.",
    "\u043c\u043e\u0439 \u043c\u043e\u0438\u0306 \u0451\u0436 \u0435\u0308\u0436",
    "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u03ba\u03cc\u03c3\u03bc\u03b5",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u0627\u0644\u062d\u0627\u0644\u061f",
    "\u0646\u064e\u0635\u0651\u064c \u0645\u064f\u0634\u064e\u0643\u0651\u064e\u0644",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0915\u094d\u0937",
    "\u09a8\u09ae\u09b8\u09cd\u0995\u09be\u09b0 \u09ac\u09bf\u09b6\u09cd\u09ac",
    "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\u4f60\u597d\u4e16\u754c\uff0c\u8fd9\u662f\u4e00\u4e2a\u9519\u8bef\u3002\u8bf7\u6e05\u6d17\u8fc7\u6ee4\u5668\uff01",
    "\u7e41\u9ad4\u4e2d\u6587\uff1a\u932f\u8aa4\u300cE4\u300d",
    "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3002\u30a8\u30e9\u30fcE4\u3067\u3059\u3002",
    "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "\uff21\uff22\uff23 \uff11\uff12\uff13 \uff76\uff80\uff76\uff85",
    "\ufb01ne \ufb02ow \u017fan \u01c6",
    "\u1794\u17b6\u1793 \u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u0532\u0561\u0580\u0587",
    "zero\u200bwidth no\u00a0break soft\u00adhyphen \u2060 \ufeff",
    "\u202bright\u202c to \u200fleft\u200e",
    "A\u030a \u00c5 \u212b e\u0323\u0302 \u1ec7 q\u0307\u0323",
    "\U0001d400\U0001d41b\U0001d42a \U00020000 \u2e80",
)

EMOJI: Final = (
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u2615\ufe0f", "\u263a", "\U0001f44d\U0001f3fd",
    "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f468\u200d\U0001f527", "1\ufe0f\u20e3 2\ufe0f\u20e3", "\U0001f525\U0001f525\U0001f525", "\u00a9 \u20ac \u221e \u2192 \u2713 \u00b6",
    "a\U0001f600b", "OK \U0001f44c!", "\u2500\u2502\u250c\u2510 \u2588\u2591", "\u2211\u222b\u2260\u2248 \u03b1\u03b2\u03b3 \u2200x\u2208\u211d",
)  # fmt: skip
