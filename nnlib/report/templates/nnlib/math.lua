--[[ TeX as MathJax takes it, made such that pandoc reads it: definitions, which hold for all formulas
     after them, are applied here, and so are commands that pandoc does not know. ]]

local NAME = "^\\(%a+%*?)"
local macros = {} -- name -> { count, default, body }

local function define(name, count, body, default) macros[name] = { count, body, default } end

for _, each in ipairs({ "label", "nonumber", "notag", "require", "vphantom", "hphantom", "displaystyle",
  "textstyle", "begingroup", "endgroup", "tiny", "small", "normalsize", "large", "Large", "LARGE", "huge", "Huge", "scriptsize",
  "footnotesize", "scriptstyle", "scriptscriptstyle", "mathstrut", "strut", "hfill", "allowbreak", "nobreak" }) do
  define(each, 0, "")
end
for _, each in ipairs({ "label", "require", "vphantom", "hphantom" }) do define(each, 1, "") end
for _, each in ipairs({ "smash", "mathclap", "mathllap", "mathrlap", "rlap", "llap", "clap" }) do define(each, 1, "{#1}") end
for _, each in ipairs({ "href", "textcolor", "class", "cssId", "style", "raise", "lower", "colorbox", "bbox" }) do define(each, 2, "{#2}") end
define("tag", 1, "\\qquad\\text{(#1)}")
define("tag*", 1, "\\qquad\\text{#1}")
define("eqref", 1, "\\text{(#1)}")
define("ref", 1, "\\text{#1}")
define("bra", 1, "\\langle #1|")
define("ket", 1, "|#1\\rangle")
define("braket", 1, "\\langle #1\\rangle")
define("enclose", 2, "\\boxed{#2}")
define("displaylines", 1, "\\begin{gathered}#1\\end{gathered}")
define("eqalign", 1, "\\begin{aligned}#1\\end{aligned}")
define("cr", 0, "\\\\ ")
define("newline", 0, "\\\\ ")
define("sideset", 3, "{}#1{#3}#2")
define("LaTeX", 0, "\\text{LaTeX}")
define("TeX", 0, "\\text{TeX}")

local function skip(tex, i) return tex:find("%S", i) or #tex + 1 end

local function argument(tex, i) -- what stands at i: a group without its braces, a command, a letter
  i = skip(tex, i)
  local group = tex:match("^%b{}", i)
  if group then return group:sub(2, -2), i + #group end
  local command = tex:match("^\\%a+", i) or tex:match("^\\.", i) or tex:match("^[%z\1-\127\194-\244][\128-\191]*", i) or ""
  return command, i + #command
end

local function bracketed(tex, i)
  i = skip(tex, i)
  local option = tex:match("^%b[]", i)
  if option then return option:sub(2, -2), i + #option end
  return nil, i
end

local function definition(tex, i, command) -- reads one, and returns where it ends
  local name, count, default, body
  if command:find("command") then
    name, i = argument(tex, i)
    count, i = bracketed(tex, i)
    default, i = bracketed(tex, i)
    body, i = argument(tex, i)
  elseif command:find("^DeclareMathOperator") then
    name, i = argument(tex, i)
    body, i = argument(tex, i)
    body = "\\operatorname" .. command:match("%*?$") .. "{" .. body .. "}"
  elseif command == "let" then
    name, i = argument(tex, i)
    i = skip(tex, i)
    if tex:sub(i, i) == "=" then i = i + 1 end
    body, i = argument(tex, i)
    local known = macros[body:sub(2)]
    if known then macros[name:match("%a+") or ""] = known; return i end
  else -- \def, \gdef, \edef
    name, i = argument(tex, i)
    local parameters = tex:match("^[^{]*", i)
    _, count = parameters:gsub("#", "")
    body, i = argument(tex, i + #parameters)
  end
  define((name or ""):match("%a+") or "", tonumber(count) or 0, body or "", default)
  return i
end

local function defines(command)
  return command:find("^%a*newcommand%*?$") or command:find("^providecommand") or command:find("^DeclareMathOperator%*?$")
    or command == "def" or command == "gdef" or command == "let" or command == "edef"
end

local steps
local function expand(tex)
  local out, i = {}, 1
  while i <= #tex do
    local command = tex:match(NAME, i)
    if not command then
      local plain = tex:match("^\\.", i) or tex:match("^[^\\]+", i) or tex:sub(i, i)
      out[#out + 1], i = plain, i + #plain
    else
      local after = i + 1 + #command
      if not macros[command] and not defines(command) and command:sub(-1) == "*" then
        command, after = command:sub(1, -2), after - 1
      end
      local macro = macros[command]
      steps = steps + 1
      if defines(command) then
        i = definition(tex, after, command)
      elseif macro and steps < 2000 then
        local values = {}
        for n = 1, macro[1] do
          if n == 1 and macro[3] then
            values[1], after = bracketed(tex, after)
            values[1] = values[1] or macro[3]
          else
            values[n], after = argument(tex, after)
          end
        end
        local body = macro[2]:gsub("#(%d)", function(n) return values[tonumber(n)] or "" end)
        if body:find("%a$") and body:find("\\%a+$") and tex:find("^%a", after) then body = body .. " " end
        out[#out + 1], i = expand(body), after
      else
        out[#out + 1], i = "\\" .. command, after
      end
    end
  end
  return table.concat(out)
end

local FONTS = { rm = "mathrm", bf = "mathbf", it = "mathit", cal = "mathcal", tt = "mathtt", sf = "mathsf",
  frak = "mathfrak", scr = "mathscr", mit = "mathit", Bbb = "mathbb", boldmath = "boldsymbol" }

local function regroup(tex) -- what goes on to the end of its group: fonts, colours, \over
  tex = tex:gsub("%b{}", function(group) return "{" .. regroup(group:sub(2, -2)) .. "}" end)
  local above, below = tex:match("^(.-)\\over%f[%A](.*)$")
  if above and not below:find("\\over%f[%A]") then return "\\frac{" .. above .. "}{" .. below .. "}" end
  above, below = tex:match("^(.-)\\atop%f[%A](.*)$")
  if above then return "\\substack{" .. above .. "\\\\" .. below .. "}" end
  local place = 1
  local before, font, after = tex:match("^(.-)\\(%a+)%f[%A](.*)$")
  while font do
    if FONTS[font] then
      return tex:sub(1, place - 1) .. before .. "\\" .. FONTS[font] .. "{" .. regroup(after) .. "}"
    end
    place = place + #before + 1 + #font
    before, font, after = tex:match("^(.-)\\(%a+)%f[%A](.*)$", place)
  end
  return tex
end

local function readable(source)
  steps = 0
  local tex = source:gsub("\\\\", "\\\\ "):gsub("([^\\])%%[^\n]*", "%1"):gsub("^%%[^\n]*", "")
  tex = expand(tex):gsub("\\begin{rcases}", "\\left.\\begin{array}{l}"):gsub("\\end{rcases}", "\\end{array}\\right\\}")
  tex = tex:gsub("\\color%s*%b{}%s*([^{%s])", "%1")
  if tex:find("\\%a") then tex = regroup(tex) end
  if not tex:find("\\begin") and tex:find("\\\\ ") then tex = "\\begin{gathered}" .. tex .. "\\end{gathered}" end
  return tex
end

local function depth(tex)
  local deep, most = 0, 0
  for brace in tex:gmatch("[{}]") do
    deep = deep + (brace == "{" and 1 or -1)
    most = math.max(most, deep)
  end
  return most
end

function Math(el)
  local fine, tex = pcall(readable, el.text)
  if not fine or depth(tex) > 12 then return pandoc.Code(el.text) end -- pandoc would take ages
  if not tex:find("%S") then return {} end
  el.text = tex
  return el
end
