"""What models write in place of an answer: look-alikes, other notations, fences and tags; with what is meant.

By name: schema, `[answer]`, criterion, answers that are right, answers that are wrong.
"""

SCHEMA = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}, "count": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["on", "count", "name"],
    "additionalProperties": False,
}
CASE = {"expected": {"on": True, "count": 1, "name": "\u00e9"}}

WRITTEN = {
    'json as others write it': (
        SCHEMA, {}, CASE,
        [
            '{"\\u006fn": true, "count": 1, "name": "\\u00e9"}', '{"on":true,"count":1.00e0,"name":"e\\u0301"}',
            '\t{"on": true,\t"count": 10e-1, "name": "\xe9"}', '{"on": true, "count": 1, "name": "\xe9"}\n\n\n',
            '{"count": 1, "on": true,\r\n "name": "\xe9"}\r\n',
            '{"on": true, "count": 1.0000000000000000001, "name": "\xe9"}',
            '{"on": true, "count": 0.99999999999999999, "name": "\xe9"}',
        ],
        [
            '{"on": true, "count": 1, "name": "\xe9"}\x00', '{"on": true, "count": 1, "name": "\xe9\\u0000"}',
            '{"on": true, "count": 1, "name": "\xe9\u200b"}', '{"on": true, "count": 1, "name": "\u200b\xe9"}',
            '{"on": true, "count": +1, "name": "\xe9"}', '{"on": true, "count": 01, "name": "\xe9"}',
            '{"on": true, "count": 0x1, "name": "\xe9"}', '{"on": true, "count": 1., "name": "\xe9"}',
            '{"on": true, "count": .1e1, "name": "\xe9"}', '{"on": true, "count": 1 /* one */, "name": "\xe9"}',
            '// ok\n{"on": true, "count": 1, "name": "\xe9"}', '{on: true, "count": 1, "name": "\xe9"}',
            '{"on": True, "count": 1, "name": "\xe9"}', '{"on": true; "count": 1; "name": "\xe9"}',
            '\xa0{"on": true, "count": 1, "name": "\xe9"}', '{"on": true, "count": 1, "name": "\xe9"}\xa0',
            '{"on": true, "count": 1, "name": "\xe9"}{"on": true, "count": 1, "name": "\xe9"}',
            '"{\\"on\\": true, \\"count\\": 1, \\"name\\": \\"\xe9\\"}"',
            '{"on": true, "count": \uff11, "name": "\xe9"}',
            '{\u201con\u201d: true, \u201ccount\u201d: 1, \u201cname\u201d: \u201c\xe9\u201d}',
            '{"on": true, "count": 1, "name": "\xe9"', '{"on": true, "count": 1, "name": "\xe9"}}',
            '{"on": true, "on": true, "count": 1, "name": "\xe9"}',
            '{"on": true, "count": 1, "name": "\xe9", "\\u006fn": true}', '{"on": true, "count": 1, "name": "e"}',
            '{"on": true, "count": 1, "name": "\xc9"}', 'q\n{"on": true, "count": 1, "name": "\xe9"}',
            '<answer>{"on": true, "count": 1, "name": "\xe9"}</answer>',
            'Answer: {"on": true, "count": 1, "name": "\xe9"}', '{"on": true, "count": 1, "name": "\xe9"}<|im_end|>',
            '{"on": true, "count": 1, "name": "\xe9"}</s>', '{"on": true, "count": 1, "name": "\xe9"} // done',
            'json\n{"on": true, "count": 1, "name": "\xe9"}', '{"on": true, "count": -1, "name": "\xe9"}',
            '{"on": true, "count": 1, "name": ["\xe9"]}', '[]', '{"on": true, "count": 1, "name": {"a":"\xe9"}}',
            '{"\u0430": 1, "\u043en": true, "count": 1, "name": "\xe9"}',
            '{"\u043en": true, "count": 1, "name": "\xe9"}',
        ],
    ),
    'a large whole number': (
        None, {}, {'expected': {'a': 12345678901234567890}},
        [
            '{"a": 12345678901234567890}',
        ],
        [
            '{"a": 12345678901234567891}', '{"a": 12345678901234567000}', '{"a": 1.2345678901234567e19}',
            '{"a":"12345678901234567890"}',
        ],
    ),
    'a decimal fraction': (
        None, {}, {'expected': {'a': 0.1}},
        [
            '{"a": 0.1}', '{"a":1e-1}', '{"a": 0.10}', '{"a": 0.1000}', '{"a": 0.1000000000000000001}',
        ],
        [
            '{"a": 0.11}', '{"a": ".1"}', '{"a": 1/10}', '{"a": 0,1}',
        ],
    ),
    'zero and nothing': (
        None, {}, {'expected': {'a': 0}},
        [
            '{"a": 0}', '{"a": -0}', '{"a": 0.0}', '{"a":0e5}', '{"a": 1e-400}',
        ],
        [
            '{"a": false}', '{"a": null}', '{"a": ""}', '{"a": "0"}', '{"a": []}',
        ],
    ),
    'null': (
        None, {}, {'expected': {'a': None}},
        [
            '{"a": null}',
        ],
        [
            '{}', '{"a": 0}', '{"a":"null"}', '{"a": None}', '{"a": false}', '{"a": {}}',
        ],
    ),
    'an empty text in a field': (
        None, {}, {'expected': {'a': '', 'b': 1}},
        [
            '{"a": "","b":1}',
        ],
        [
            '{"a": " ","b":1}', '{"b":1}', '{"a":null,"b":1}',
        ],
    ),
    'a number in other notations': (
        None, {'whole': {'compare': 'number', 'tolerance': 0.01}}, {'expected': '1234.5'},
        [
            '1234.5', '1,234.5', '+1,234.50', '1234.5\n', '0001234.5', '12345e-1', '.12345e4',
        ],
        [
            '1 234.5', "1'234.5", '1_234.5', '1234,5', '$1234.5', '1234.5$', '1234\xbd', '1234.5%', '1234.5 or 99',
            '-1234.5', '\u22121234.5', '(1234.5)', '1234.5e', '0x4d2', '1,2,3,4.5', '1234.5\n99', '1e3', 'twelve',
            '1234..5', '--1234.5', '+-1234.5', '1,234,5', '1234.5 km',
        ],
    ),
    'a negative number': (
        None, {'whole': {'compare': 'number'}}, {'expected': '-5'},
        [
            '-5', '-5.0', '-0005', '-5e0',
        ],
        [
            '5', '\u22125', '\u2013 5', '- 5', '(5)', '-5-', '~-5', '-5?',
        ],
    ),
    'zero as a number': (
        None, {'whole': {'compare': 'number', 'relative_tolerance': 0.1}}, {'expected': '0'},
        [
            '0', '-0', '0.0', '0e9',
        ],
        [
            '1e-9', '00x', 'O', 'o',
        ],
    ),
    'a text and its look-alikes': (
        None, {}, {'expected': 'Z\xfcrich, 5 km'},
        [
            'Z\xfcrich, 5 km', '\n\nZ\xfcrich, 5 km\t', 'Zu\u0308rich, 5 km',
        ],
        [
            'Z\xfcrich, 5\xa0km', 'Z\xfcrich, \uff15 km', 'Z\xfcrich\u201a 5 km', 'Z\xfcrich, 5 km\u200b',
            '\u2066Z\xfcrich, 5 km\u2069', 'Z\xfcrich, 5 km\n\nLet me know if you need more.',
            'Z\xfcrich, 5 km\nZ\xfcrich, 5 km', '**Z\xfcrich, 5 km**', '`Z\xfcrich, 5 km`', 'Zurich, 5 km',
            'Z\xdcRICH, 5 KM', '- Z\xfcrich, 5 km', 'Z\xfcrich, 5 km<|endoftext|>', 'Z\xfc\u0308rich, 5 km',
            'q\nZ\xfcrich, 5 km', 'Z\xfcrich,5 km',
        ],
    ),
    'dotted capitals of any case': (
        None, {'ignore_case': True}, {'expected': '\u0130stanbul'},
        [
            'i\u0307stanbul', '\u0130STANBUL',
        ],
        [
            'istanbul', 'Istanbul',
        ],
    ),
    'Greek of any case': (
        None, {'ignore_case': True}, {'expected': '\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3'},
        [
            '\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2', '\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3',
        ],
        [
            '\u03c3\u03b9\u03c3\u03c5\u03c6\u03bf\u03c2',
        ],
    ),
    'a label and its look-alikes': (
        None, {'labels': ['on', 'only', 'not on']}, {'expected': 'on'},
        [
            'on', '\r\non\r\n',
        ],
        [
            'ON', 'on\u200b', '\u043en', 'o\u0300n', 'on,', '(on)', '* on', 'on\n\non', 'on only', 'no', 'not on',
            'label: on', 'on\x00', 'on<eos>', '[on]', 'on / only', 'either on or only', 'on\nbecause it runs',
        ],
    ),
    'lines as others write them': (
        None, {'lines': {'Status': ['fault', 'ok'], 'Code': '[A-Z][0-9]'}}, {'expected': {'Status': 'fault', 'Code': 'K5'}},
        [
            'Status: fault\nCode: K5', 'Code: K5\nStatus: fault', 'Status:fault\n\n\nCode:K5\n',
            'Status :fault\nCode : K5', '  Status: fault\n  Code: K5', 'Status:\tfault\r\nCode: K5',
        ],
        [
            'Status: fault\nCode: K5\nCode: K5', 'Status: fault\nCode: K5 K6', 'Status: fault Code: K5',
            '**Status**: fault\n**Code**: K5', '- Status: fault\n- Code: K5', 'Status\uff1afault\nCode\uff1aK5',
            'Status: fault\nCode: \u041a5', 'Status: fault\nCode: K\uff15', 'Status: fault;Code: K5',
            'Status: fault\nCode:\nK5', 'STATUS: fault\nCODE: K5', 'Status: fault\nCode: K5\nNote: none',
            'Status: Fault\nCode: K5', 'Status: fault\nStatus: ok\nCode: K5', 'Status: ok\nStatus: fault\nCode: K5',
            'Status: fault\nCode: K5\n```', '| Status | fault |\n| Code | K5 |', 'Status: fault\nCode: k5',
            'Status= fault\nCode= K5', 'Status: fault\nCode: "K5"', 'Status: fault\u2028Code: K5',
            'Status: fault: ok\nCode: K5',
        ],
    ),
    'a line that may be missing': (
        None, {'lines': {'A': '.+', 'B': {'pattern': '.+', 'optional': True}}}, {'expected': {'A': 'x'}},
        [
            'A: x',
        ],
        [
            'A: x\nB: y', 'A: x\nB:', 'B: x', 'A:',
        ],
    ),
    'colons in a line': (
        None, {'lines': {'Time': '[0-9:]+', 'Url': {'pattern': '.+', 'optional': True}}}, {'expected': {'Time': '12:30'}},
        [
            'Time: 12:30',
        ],
        [
            'Time: 12: 30', 'Time 12:30',
        ],
    ),
    'keywords and their look-alikes': (
        None, {}, {'keywords': ['pump', '5', 'clean']},
        [
            'pump 5 clean', 'PUMP, 5: CLEAN', 'the (pump) needs 5 clean-ups', 'clean\npump\n5',
            '\u201cpump\u201d \u20185\u2019 clean', 'pump/5/clean', 'pump\u20145\u2014clean',
        ],
        [
            'pumps 5 clean', 'pump 50 clean', 'pump 5% cleaned', 'pum\u0440 5 clean', 'p u m p 5 clean',
            'pump \u0665 clean', 'pump five clean', 'pump 5th clean', 'pump 0.5 clean', 'pump 5,000 clean',
            'pump clean v5', 'pump_5 clean', 'pump5 clean', 'p\u200bump 5 clean', 'pump 5.0 clean',
        ],
    ),
    'a keyword with a decimal point': (
        None, {}, {'keywords': ['3.5 bar']},
        [
            'at 3.5 bar', '3.5 BAR!',
        ],
        [
            '13.5 bar', '3.5  bar', '3.5 bars', '33.5 bar', '3,5 bar', '3.50 bar',
        ],
    ),
    'a keyword with a sign': (
        None, {}, {'keywords': ['-5']},
        [
            'it is -5 degrees', '-5',
        ],
        [
            'it is 5', 'x-55',
        ],
    ),
    'keywords that end in signs': (
        None, {}, {'keywords': ['C#', 'E-42']},
        [
            'C# and E-42', 'E-42 in C#.',
        ],
        [
            'C and E-42', 'C# E-421', 'C# XE-42', 'C#',
        ],
    ),
    'a keyword that is no word': (
        None, {}, {'keywords': ['\U0001f44d']},
        [
            'good \U0001f44d', '\U0001f44d\U0001f3fd',
        ],
        [
            '\U0001f44e', ':thumbsup:',
        ],
    ),
    'a keyword in Han': (
        None, {}, {'keywords': ['\u6c34\u6cf5']},
        [
            '\u8bf7\u6e05\u6d17\u6c34\u6cf5\u3002', '\u6c34\u6cf5',
        ],
        [
            '\u6c34 \u6cf5', '\u6cf5\u6c34',
        ],
    ),
    'a keyword with a particle': (
        None, {}, {'keywords': ['\ud38c\ud504']},
        [
            '\ud38c\ud504 \ub97c', '\ud38c\ud504\ub97c \uccad\uc18c',
        ],
        [
            '\ud38c',
        ],
    ),
    'a keyword in Arabic': (
        None, {}, {'keywords': ['\u0645\u0636\u062e\u0629']},
        [
            '\u0645\u0636\u062e\u0629 \u062c\u062f\u064a\u062f\u0629', '\u0646\u0638\u0641 \u0645\u0636\u062e\u0629',
        ],
        [
            '\u0636\u062e\u0629',
        ],
    ),
    'a keyword in Devanagari': (
        None, {}, {'keywords': ['\u092a\u0902\u092a']},
        [
            '\u092a\u0902\u092a \u0938\u093e\u092b \u0915\u0930\u0947\u0902',
        ],
        [
            '\u092a\u092a\u0902',
        ],
    ),
    'a pattern and its look-alikes': (
        None, {}, {'pattern': '\\bE\\d+\\b'},
        [
            'E42', '(E1)', 'E-E4',
        ],
        [
            '\u041542', 'E 42', 'E', 'E\uff14x',
        ],
    ),
    'an anchored pattern': (
        None, {}, {'pattern': '^E\\d+$'},
        [
            'E42', 'E42\n',
        ],
        [
            'E42\nE43', 'x E42', 'E42 ',
        ],
    ),
    'similar words': (
        None, {'whole': {'compare': 'similar', 'at_least': 0.6}}, {'expected': 'Clean the filter of the pump'},
        [
            'CLEAN THE FILTER OF THE PUMP!!!', 'clean  the\nfilter, of the: pump',
            '\uff43lean the filter of the pump',
        ],
        [
            'the of the', 'Clean', 'Do not replace anything', 'filter filter filter pump pump pump', '\u200b',
            'Clean the filter of the pump Clean the filter of the pump Clean the filter of the pump ',
        ],
    ),
    'json in many fences': (
        SCHEMA, {'code_fence': True}, CASE,
        [
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '~~~json\n{"on": true, "count": 1, "name": "\xe9"}\n~~~',
            '````json\n{"on": true, "count": 1, "name": "\xe9"}\n````',
            'Sure!\n\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```\n\nAnything else?',
            '   ```json\n{"on": true, "count": 1, "name": "\xe9"}\n   ```',
            '```JSON\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```json\r\n{"on": true, "count": 1, "name": "\xe9"}\r\n```\r\n',
            '```json\n\n{"on": true, "count": 1, "name": "\xe9"}\n\n```',
            '```{"on": true, "count": 1, "name": "\xe9"}```', '```json {"on": true, "count": 1, "name": "\xe9"}```',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n```\n', '{"on": true, "count": 1, "name": "\xe9"}',
            '> see\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```json5\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '1. ok\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```json title="x"\n{"on": true, "count": 1, "name": "\xe9"}\n```',
        ],
        [
            '```json\n{"on": true, "count": 1, "name": "\xe9"}',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n``',
            '``json\n{"on": true, "count": 1, "name": "\xe9"}\n``', '`{"on": true, "count": 1, "name": "\xe9"}`',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n```\n```json\n{"on": false, "count": 1, "name": "\xe9"}\n```',
            '````\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```\n````',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n```\n```',
            '```json\n{}\n```\n{"on": true, "count": 1, "name": "\xe9"}',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n~~~', '```\n```',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```python\nprint(1)\n```\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```json\n// {"on": true, "count": 1, "name": "\xe9"}\n```', '```json\n{"a": "```"}\n```',
        ],
    ),
    'a fence that is the answer': (
        None, {'code_fence': True}, {'expected': '```x```'},
        [],
        [
            'x',
        ],
    ),
    'a text in a fence': (
        None, {'code_fence': True}, {'expected': 'yes'},
        [
            '```yes```', '```\nyes\n```', 'yes', '```text\nyes\n```', '```text yes```',
        ],
        [
            '```\nno\n```', 'yes```', '```yes', '``yes``',
        ],
    ),
    'a word that names a language': (
        None, {'code_fence': True}, {'expected': 'text'},
        [
            '```\ntext\n```', 'text', '```text```',
        ],
        [],
    ),
    'json behind many thinking parts': (
        SCHEMA, {'thinking': True}, CASE,
        [
            '<think>hm</think>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>\n\n</think>\n\n{"on": true, "count": 1, "name": "\xe9"}',
            '<think>hm</think>\n{"on": true, "count": 1, "name": "\xe9"}',
            '<think>a<think>b</think>c</think>{"on": true, "count": 1, "name": "\xe9"}',
            '  <think>hm</think>{"on": true, "count": 1, "name": "\xe9"}',
            'hm, maybe\n</think>\n{"on": true, "count": 1, "name": "\xe9"}',
            '</think>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>{"on": true, "count": 1, "name": "\xe9"}</think>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>hm</think><think>hm</think>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>x < y && </ think></think>{"on": true, "count": 1, "name": "\xe9"}',
        ],
        [
            '<think>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>hm</thinking>{"on": true, "count": 1, "name": "\xe9"}',
            '<THINK>hm</THINK>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>{"on": true, "count": 1, "name": "\xe9"}</think>',
            '<thinking>hm</thinking>{"on": true, "count": 1, "name": "\xe9"}',
            'hm <think>hm</think>{"on": true, "count": 1, "name": "\xe9"}',
            '{"on": true, "count": 1, "name": "\xe9"}<think>hm</think>',
            '<think>hm</think>{"on": true, "count": 1, "name": "\xe9"}<think>hm</think>',
            '<think>hm</think>{"on": true, "count": 1, "name": "\xe9"}</think>',
            '<think><think>hm</think>{"on": true, "count": 1, "name": "\xe9"}',
            '<think>hm</think>So:\n{"on": true, "count": 1, "name": "\xe9"}',
            '<think/>{"on": true, "count": 1, "name": "\xe9"}',
            '&lt;think&gt;hm&lt;/think&gt;{"on": true, "count": 1, "name": "\xe9"}',
            '<think>hm</think{"on": true, "count": 1, "name": "\xe9"}', '<think>hm</think>', '<think>hm</think> ',
            '<think></think><think></think><think></think>',
        ],
    ),
    'thinking and a fence': (
        SCHEMA, {'thinking': True, 'code_fence': True}, CASE,
        [
            '<think>hm</think>```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '<think>```\nx\n```</think>```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '<think>```json\n{}</think>\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '<think>hm</think>\nHere:\n```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
        ],
        [
            '<think>```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '<think>hm</think>```json\n{"on": true, "count": 1, "name": "\xe9"}\n``````json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
            '```json\n{"on": true, "count": 1, "name": "\xe9"}\n```<think>hm</think>```json\n{"on": true, "count": 1, "name": "\xe9"}\n```',
        ],
    ),
    'other thinking markers': (
        None, {'thinking': [['[THINK]', '[/THINK]'], ['<t>', '</t>']]}, {'expected': 'ok'},
        [
            '[THINK]a[/THINK]ok', '<t>a</t>ok', '[THINK]a[/THINK]<t>b</t>ok', '[THINK]<t>[/THINK]ok', 'ok',
        ],
        [
            '[THINK]ok', '<t>a[/THINK]ok', '[THINK]ok[/THINK]', '<t>ok</t>',
        ],
    ),
    'taken behind a mark': (
        None, {'take': '####\\s*(.+)', 'whole': {'compare': 'number'}}, {'expected': '72'},
        [
            '#### 72', 'x\n####   72.00\n', '#### 72\n#### 72', '#### 0072', 'a #### 72', '#### 72.',
        ],
        [
            '####\n', '#### 71\n#### 72', '#### 72 #### 73', '### 72', '#### seventy-two', '#### 27', '\\boxed{72}',
        ],
    ),
    'taken out of a box': (
        None, {'take': '\\\\boxed\\{([^}]*)\\}'}, {'expected': '72'},
        [
            'so \\boxed{72}.', '\\boxed{ 72 }',
        ],
        [
            '\\boxed{\\text{72}}', '\\boxed{72', 'boxed{72}', '\\boxed{71} or \\boxed{72}', '\\boxed{}72',
        ],
    ),
    'taken by a named group': (
        None, {'take': '(?i)answer(?P<sep>:| is)\\s*(?P<answer>[A-D])\\b', 'labels': ['A', 'B', 'C', 'D']}, {'expected': 'B'},
        [
            'Answer: B', 'The answer is B.', 'answer: B because', 'Answer: B. Answer: B',
        ],
        [
            'Answer: B. Answer: C', 'B', 'Answer: Bad', 'answer is A, not B',
        ],
    ),
    'sets and numbers': (
        None, {'fields': {'tags': {'compare': 'set'}, 't': {'compare': 'number', 'tolerance': 0.1}}}, {'expected': {'tags': ['a', 'b'], 't': 2.5}},
        [
            '{"tags":["b","a","b"],"t":2.6}', '{"t":2.4,"tags":["a","b"]}', '{"tags":["a","b"],"t":2.60}',
        ],
        [
            '{"tags":["a","b",null],"t":2.5}', '{"tags":["A","b"],"t":2.5}', '{"tags":["a b"],"t":2.5}',
            '{"tags":[["a","b"]],"t":2.5}', '{"tags":[],"t":2.5}', '{"tags":["a","b"],"t":2.6000001}',
            '{"tags":["a","b"],"t":[2.5]}', '{"tags":["a","b"],"t":"2.5"}', '{"tags":["a","b"],"t":null}',
            '{"tags":["a","b"]}', '{"tags":["a","b"],"t":2.5,"t":9}', '{"tags":{"0":"a","1":"b"},"t":2.5}',
            '{"Tags":["a","b"],"t":2.5}',
        ],
    ),
    'a set of 1 and true': (
        None, {'fields': {'tags': {'compare': 'set'}}}, {'expected': {'tags': [1, True]}},
        [
            '{"tags":[true,1]}', '{"tags":[1.0,true]}',
        ],
        [
            '{"tags":[1]}', '{"tags":[true]}', '{"tags":[1,1]}', '{"tags":[1,"true"]}',
        ],
    ),
    'keys in two normal forms': (
        None, {}, {'expected': {'\xe9': 1}},
        [
            '{"e\u0301":1}',
        ],
        [
            '{"e":1}', '{"\xe9":1,"e\u0301":1}', '{"\xe9":1,"e\u0301":2}',
        ],
    ),
    'nested values': (
        None, {}, {'expected': {'a': {'b': [{'c': None}]}}},
        [
            '{"a":{"b":[{"c":null}]}}',
        ],
        [
            '{"a":{"b":[{}]}}', '{"a":{"b":{"c":null}}}', '{"a.b":[{"c":null}]}', '{"a":{"b":[{"c":null},{}]}}',
        ],
    ),
    'one of two spellings': (
        None, {}, {'one_of': ['yes', 'Yes.']},
        [
            'yes', 'Yes.',
        ],
        [
            'yes.', 'YES', 'yes or Yes.', 'Yes', 'yes\nYes.',
        ],
    ),
    "a text that is JSON's null": (
        None, {}, {'expected': 'null'},
        [
            'null',
        ],
        [
            'None', 'NULL',
        ],
    ),
    'a form and its look-alikes': (
        None, {'pattern': '[A-Z]{2}[0-9]{3}'}, {'expected': 'AB123'},
        [
            'AB123',
        ],
        [
            'AB12\uff13', 'AB123\nAB123', '\uff21B123', 'AB123;',
        ],
    ),
    'a keyword that is a number': (
        None, {}, {'keywords': ['5']},
        [
            'pump-5', '5', 'E-5', '(5)', 'a 5.', '5, 6',
        ],
        [
            '-5', 'at -5 \xb0C', '(-5)', '\u22125', 'it is \u22125', "5'000", '1\u20195',
        ],
    ),
    'nothing but articles': (
        None, {'whole': {'compare': 'similar', 'at_least': 0.6}}, {'expected': 'The A'},
        [
            'the a', 'A the',
        ],
        [
            'x',
        ],
    ),
}  # fmt: skip
