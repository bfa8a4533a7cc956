--[[ From pandoc's document, read from HTML, to the report's own typst functions (report.typ): numbered
     figures and tables, boxes, colours, formulas that are typst already, links that stay inside. ]]

local prefix = ""        -- of this notebook's labels, so that those of two notebooks never meet
local chapters = {}      -- names of the notebooks in this document
local targets = {}       -- labels of what is linked to in this notebook, by its anchor
local known = 0

local function text(value) -- a typst string
  value = tostring(value or ""):gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("%s", " ")
  return '"' .. value .. '"'
end

local function typst(blocks)
  return (pandoc.write(pandoc.Pandoc(blocks), "typst"):gsub("%s+$", ""))
end

local function plain(el) -- what a cell says, for the case that typst cannot set it, in one word
  local said = pandoc.write(pandoc.Pandoc(el.content), "plain", pandoc.WriterOptions({ wrap_text = "none" }))
  return (said:gsub("[^%w]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local function raw(source) return pandoc.RawInline("typst", source) end
local function inlines(blocks) return pandoc.Plain(pandoc.utils.blocks_to_inlines(blocks)) end

local function marked(el) -- its anchor becomes a label of ours, whatever characters are in it
  if el.identifier == "" then return end
  known = known + 1
  targets[el.identifier] = prefix .. "-" .. known
  el.identifier = targets[el.identifier]
  return el
end

local function header(el)
  marked(el)
  if el.level == 1 and chapters[prefix] then -- a chapter is known by its notebook's name
    chapters[prefix], el.identifier = false, prefix
  end
  return el
end

local function colours(attributes) -- typst's settings of text, as { name, value }
  local ink = attributes.ink
  return ink and ("#text(fill: rgb(" .. text(ink) .. "))[") or nil
end

local function span(el)
  if el.classes:includes("typst") and el.attributes.typst then return raw(el.attributes.typst) end
  local open = el.classes:includes("small") and "#small[" or colours(el.attributes)
  if not open then return nil end
  local ground = el.attributes.ground
  if ground then open = "#highlight(fill: rgb(" .. text(ground) .. "))[" .. open end
  return { raw(open), el, raw(ground and "]]" or "]") }
end

local function literal(el) -- what typst would read as dots or as a place to hyphenate
  local dots = el.text:gsub("%.%.%.", '\1'):gsub("%-%?", "\2")
  if dots == el.text then return nil end
  local parts = {}
  for plain, mark in dots:gmatch("([^\1\2]*)([\1\2]?)") do
    if plain ~= "" then parts[#parts + 1] = pandoc.Str(plain) end
    if mark ~= "" then parts[#parts + 1] = raw(mark == "\1" and '#"..."' or '#"-?"') end
  end
  return parts
end

local function picture(el) -- one that says how wide it is never gets wider than the page
  local wide, unit = (el.attributes.width or ""):match("^([%d.]+)(%D*)$")
  local width = ""
  wide = tonumber(wide)
  if wide and (unit == "" or unit == "px") then
    wide = wide * 0.75
    width = ", width: " .. (wide < 440 and wide > 0 and wide .. "pt" or "100%")
  elseif wide and unit == "%" then
    width = ", width: " .. math.min(100, wide) .. "%"
  end
  local alt = pandoc.utils.stringify(el.caption)
  return raw("#box(image(" .. text(el.src) .. ", alt: " .. text(alt) .. width .. "))")
end

local function link(el)
  local target = el.target
  local notebook = target:match("([%w_%-]+)%.ipynb") or target:match("^([%w_%-]+)%.html")
  if notebook and chapters[notebook] ~= nil then
    target = "#" .. notebook
  elseif target == "" or notebook and not target:match("^%a+://") then
    return el.content
  elseif target:sub(1, 1) == "#" then
    local anchor = target:sub(2):gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end)
    local label = targets[anchor]
    if not label then return el.content end
    target = "#" .. label
  end
  return pandoc.Link(el.content, target)
end

local function figure(div)
  local about = div.attributes
  local caption = #div.content > 0 and typst({ inlines(div.content) }) or ""
  local mark = targets[about.anchor or ""]
  return pandoc.RawBlock("typst", "#numbered(image(" .. text(about.picture) .. ", alt: " .. text(about.told)
    .. "), kind: image, number: " .. text(about.number) .. ", caption: [" .. caption .. "])" .. (mark and "<" .. mark .. ">" or ""))
end

local function numbered_table(div)
  local caption = div.content:remove(1).content
  if #caption == 0 then return div.content end
  local body = typst(div.content)
  local _, rows = body:gsub("\n", "")
  return pandoc.RawBlock("typst", "#numbered([" .. body .. "], kind: table, number: " .. text(div.attributes.number)
    .. ", long: " .. tostring(rows > 36) .. ", caption: [" .. typst({ inlines(caption) }) .. "])")
end

local function rows_of(el)
  local rows = pandoc.List({})
  rows:extend(el.head.rows)
  for _, body in ipairs(el.bodies) do rows:extend(body.head); rows:extend(body.body) end
  rows:extend(el.foot.rows)
  return rows
end

local function prose_columns(el) -- whether each column holds more than fits on a line beside others
  local long, any = {}, false
  for _, row in ipairs(rows_of(el)) do
    for n, cell in ipairs(row.cells) do
      local size = pandoc.text.len(pandoc.utils.stringify(cell.contents))
      long[n] = long[n] or size > 60
      any = any or long[n]
    end
  end
  return any and long or nil
end

local function coloured(el)
  for _, row in ipairs(rows_of(el)) do
    for _, cell in ipairs(row.cells) do
      local ground, ink, set = cell.attr.attributes.ground, cell.attr.attributes.ink, {}
      if ground then set["typst:fill"] = "rgb(" .. text(ground) .. ")" end
      if ink then set["typst:text:fill"] = "rgb(" .. text(ink) .. ")" end
      cell.attr = pandoc.Attr("", {}, set)
    end
  end
end

local function fitted_table(el) -- pandoc makes a figure around each, which is not wanted here
  local caption = el.caption.long
  el.caption, el.attr = { long = {} }, {}
  local long, fit = prose_columns(el), "#fitted["
  coloured(el)
  local plain = typst({ el }):gsub("%]%s*,%s*kind: table%s*%)$", "]")
  if long then -- prose wraps in the room that the other columns leave
    local widths = {}
    for n = 1, #el.colspecs do widths[n] = long[n] and "1fr" or "auto" end
    plain = plain:gsub("columns: [^\n]-,\n", "columns: (" .. table.concat(widths, ", ") .. "),\n", 1)
    fit = "#whole["
  end
  local body = pandoc.RawBlock("typst", (plain:gsub("^#figure%(%s*align%(center%)%[", fit, 1)))
  return #caption > 0 and { pandoc.Div(caption), body } or body
end

local function plain_figure(el) -- of HTML: its caption without a number of typst's own
  local blocks = pandoc.List(el.content)
  blocks:extend(el.caption.long)
  return blocks
end

local function box(div)
  local function around(open, close) return pandoc.RawBlock("typst", open .. "[\n" .. typst(div.content) .. "\n" .. (close or "]")) end
  if div.classes:includes("figure") and div.attributes.picture then return figure(div) end
  if div.classes:includes("table") and div.attributes.number then return numbered_table(div) end
  if div.classes:includes("solution") and div.attributes.called then return around("#solution(" .. text(div.attributes.called) .. ")") end
  if div.classes:includes("center") then return around("#align(center)") end
  if div.classes:includes("alert") then
    local kind = "info"
    for _, class in ipairs(div.classes) do kind = class:match("^alert%-(.*)") or kind end
    return around("#verdict(" .. text(kind) .. ")")
  end
  if colours(div.attributes) then return around(colours(div.attributes):sub(1, -2)) end
  if div.classes:includes("cell") and div.attributes.called then
    return pandoc.RawBlock("typst", "// nnCell " .. div.attributes.called .. " " .. div.attributes.said .. "\n"
      .. typst(div.content) .. "\n// nnEnd\n")
  end
end

function Pandoc(doc)
  prefix = pandoc.utils.stringify(doc.meta.chapter or "")
  for name in pandoc.utils.stringify(doc.meta.chapters or ""):gmatch("%S+") do chapters[name] = true end
  doc = doc:walk({
    Header = header,
    Span = marked,
    Code = function(el) el.attr = {}; return el end,
    Div = function(el)
      marked(el)
      if el.attributes.called then el.attributes.said = plain(el) end
      if el.attributes.anchor and el.attributes.anchor ~= "" then
        known = known + 1
        targets[el.attributes.anchor] = prefix .. "-" .. known
      end
      return el
    end,
  })
  return doc:walk({ Link = link, Image = picture, Str = literal, Figure = plain_figure })
    :walk({ Span = span }):walk({ Table = fitted_table }):walk({ Div = box })
end
