--[[ From pandoc's document to the report's own typst functions (report.typ): numbered figures and
     tables, mathematics with its TeX as alternative text, links that stay inside the document. ]]

local prefix = ""        -- of this notebook's labels, so that those of two notebooks never meet
local chapters = {}      -- names of the notebooks in this document
local targets = {}       -- labels that exist in this notebook

local function text(value) -- a typst string
  value = tostring(value or ""):gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("\n", " ")
  return '"' .. value .. '"'
end

local function typst(blocks)
  return (pandoc.write(pandoc.Pandoc(blocks), "typst"):gsub("%s+$", ""))
end

local function unpack_about(div)
  local json = (div.attributes.about or "%7B%7D"):gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end)
  return pandoc.json.decode(json, false)
end

local function inlines(blocks) return pandoc.Plain(pandoc.utils.blocks_to_inlines(blocks)) end

local function label(id) return "<" .. prefix .. id .. ">" end

local function html_blocks(raw)
  if raw.format ~= "html" or not raw.text:find("<table") then return nil end
  return pandoc.read(raw.text, "html").blocks
end

local function picture(el) -- one that cannot be had here is told in words
  local local_file = not el.src:find("^%a+://")
  if local_file and pcall(pandoc.mediabag.fetch, el.src) then return nil end
  return #el.caption > 0 and el.caption or pandoc.Str(el.src)
end

local function math(el)
  local body = typst({ pandoc.Plain({ el }) })
  if body:sub(1, 1) ~= "$" then return el end -- TeX that pandoc cannot read stays as it is
  local block = el.mathtype == "DisplayMath" and "true" or "false"
  return pandoc.RawInline("typst",
    "#math.equation(alt: " .. text(el.text) .. ", block: " .. block .. ", " .. body .. ")")
end

local function link(el)
  local target = el.target
  local notebook = target:match("([%w_%-]+)%.ipynb") or target:match("^([%w_%-]+)%.html")
  if notebook and chapters[notebook] then
    target = "#" .. notebook
  elseif notebook and not target:match("^%a+://") then
    return el.content
  elseif target:sub(1, 1) == "#" then
    if not targets[target:sub(2)] then return el.content end
    target = "#" .. prefix .. target:sub(2)
  end
  return pandoc.Link(el.content, target, el.title, el.attr)
end

local function figure(div)
  local about = unpack_about(div)
  local caption = #div.content > 0 and typst({ inlines(div.content) }) or ""
  local mark = (about.id or "") ~= "" and label(about.id) or ""
  return pandoc.RawBlock("typst", "#numbered(image(" .. text(about.file) .. ", alt: " .. text(about.alt)
    .. "), kind: image, number: " .. text(about.number) .. ", caption: [" .. caption .. "])" .. mark)
end

local function numbered_table(div)
  local about = unpack_about(div)
  local caption = pandoc.read(about.caption or "", "commonmark_x").blocks
  if #caption == 0 then return div.content end
  local body = typst(div.content)
  local _, rows = body:gsub("\n", "")
  return pandoc.RawBlock("typst", "#numbered([" .. body .. "], kind: table, number: " .. text(about.number)
    .. ", long: " .. tostring(rows > 36) .. ", caption: [" .. typst({ inlines(caption) }) .. "])")
end

local function prose_columns(el) -- whether each column holds more than fits on a line beside others
  local long, any = {}, false
  for _, body in ipairs(el.bodies) do
    for _, row in ipairs(body.body) do
      for n, cell in ipairs(row.cells) do
        local size = pandoc.text.len(pandoc.utils.stringify(cell.contents))
        long[n] = long[n] or size > 60
        any = any or long[n]
      end
    end
  end
  return any and long or nil
end

local function fitted_table(el) -- pandoc makes a figure around each, which is not wanted here
  el.caption = { long = {} }
  local long, fit = prose_columns(el), "#fitted["
  local plain = typst({ el }):gsub("%]%s*,%s*kind: table%s*%)$", "]")
  if long then -- prose wraps in the room that the other columns leave
    local widths = {}
    for n = 1, #el.colspecs do widths[n] = long[n] and "1fr" or "auto" end
    plain = plain:gsub("columns: [^\n]-,\n", "columns: (" .. table.concat(widths, ", ") .. "),\n", 1)
    fit = "#whole["
  end
  return pandoc.RawBlock("typst", (plain:gsub("^#figure%(%s*align%(center%)%[", fit, 1)))
end

local function small(el) -- the one element of HTML that prose uses
  if el.format ~= "html" then return nil end
  if el.text == "<small>" then return pandoc.RawInline("typst", "#small[") end
  if el.text == "</small>" then return pandoc.RawInline("typst", "]") end
end

local function box(div)
  if div.classes:includes("figure") then return figure(div) end
  if div.classes:includes("table") then return numbered_table(div) end
  if div.classes:includes("solution") then
    return pandoc.RawBlock("typst", "#solution(" .. text(div.attributes.name) .. ")[\n" .. typst(div.content) .. "\n]")
  end
  if div.classes:includes("alert") then
    local kind = div.classes[2]:gsub("^alert%-", "")
    return pandoc.RawBlock("typst", "#verdict(" .. text(kind) .. ")[\n" .. typst(div.content) .. "\n]")
  end
end

function Pandoc(doc)
  prefix = pandoc.utils.stringify(doc.meta.chapter or "") .. "-"
  for name in pandoc.utils.stringify(doc.meta.chapters or ""):gmatch("%S+") do chapters[name] = true end
  doc = doc:walk({ RawBlock = html_blocks })
  local first = chapters[prefix:sub(1, -2)]
  doc = doc:walk({
    Header = function(el)
      targets[el.identifier] = true
      el.identifier = prefix .. el.identifier
      if el.level == 1 and first then -- a chapter is known by its notebook's name
        el.identifier, first = prefix:sub(1, -2), false
      end
      return el
    end,
    Div = function(el)
      if el.classes:includes("figure") then targets[unpack_about(el).id or ""] = true end
    end,
  })
  return doc:walk({ Math = math, Link = link, Image = picture, RawInline = small }):walk({ Table = fitted_table }):walk({ Div = box })
end
