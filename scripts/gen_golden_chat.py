#!/usr/bin/env python3
# Writes tests/golden/chat/cases.json: conversations as jinja2 writes them, in the environment that transformers renders templates in
# (trim_blocks, lstrip_blocks, raise_exception).
#   python3 scripts/gen_golden_chat.py          needs jinja2
import json
import os
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

templates = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
              "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}\n",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
              "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
              "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
              "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
              "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
              "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
              "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
              "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
               "{{ raise_exception('roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}"
               "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
               "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
             "{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
             "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "lines": "{#- a comment -#}\n  {%- for m in messages -%}\n    {{- m.role | upper }}: {{ m.content -}}\n    {%- if not loop.last %}\n\n    {% endif %}\n"
             "  {%- endfor %}\n   {% if true %}\n  in\n   {% endif %}\nout {% if 1 < 2 and not false %}x{% endif %}\n  {{ messages|length }}  \n {# c #} \n\n",
    "words": "{{ tools is none }}{{ tools is not none }}{{ nobody is defined }}{{ nobody is not defined }}{{ 'a' if nobody else 'b' }}{{ nobody }}|"
             "{{ messages[-1].content.startswith('W') }}{{ messages[0]['content'].endswith('?') }}{{ messages[0].content is string }}"
             "{{ 'o' in messages[0].content }}{{ 'zz' not in messages[0].content }}{{ 1 + 2 * 3 - -4 }}{{ 7 % 3 }}{{ -7 % 3 }}{{ 1 ~ 'x' ~ 2 }}"
             "{{ 'b' > 'a' }}{{ 2 >= 3 }}{{ none }}{{ messages[:1]|length }}{{ messages[1:-1]|length }}{{ ('  x ' ~ ' y ')|trim }}{{ 'role' in messages[0] }}"
             "{{ messages[0].name }}{{ 'quote\\'s \"x\" \\\\ \\t' }}{{ \"it's\" }}{{ true and 'yes' or 'no' }}{{ 'HeLLo'.lower() }}{{ 'hELLo' | capitalize }}",
    "scope": "{% set x = 'out' %}{% for m in messages %}{{ x }}{% set x = m.role %}{{ x }}{{ loop.index }}{{ loop.first }}{{ loop.length }}{{ loop.revindex }} {% endfor %}{{ x }}"
             "{% if true %}{% set x = 'kept' %}{% endif %}{{ x }}",
    "plain": "no tags\n",
}
user = {"role": "user", "content": "Who is there?"}
answer = {"role": "assistant", "content": " The wind. \n"}
system = {"role": "system", "content": "Be brief."}
odd = {"role": "user", "content": "  W\u00e4re \u20ac 5 <|im_end|> {{ x }} '\"\\ \n "}
talks = [[user], [user, answer, odd], [system, user], [system, user, answer, odd], [answer, user]]
tokens = {"bos_token": "<s>", "eos_token": "</s>"}


def fail(message):
    raise TemplateError(message)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
env.globals["raise_exception"] = fail
cases = []
for name, template in templates.items():
    compiled = env.from_string(template)
    for i, talk in enumerate(talks):
        case = {"name": f"{name} {i}", "template": template, "messages": talk, "prompt": i % 2 == 0}
        try:
            case["text"] = compiled.render(messages=talk, add_generation_prompt=case["prompt"], tools=None, documents=None, **tokens)
        except TemplateError as e:
            case["refused"] = str(e)
        cases.append(case)
path = os.path.join(os.path.dirname(__file__), "..", "tests", "golden", "chat", "cases.json")
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "w") as f:
    json.dump(cases, f, indent=0)
    f.write("\n")
